# Generated from featurestore/v1/featurestore.proto by proto/generate.py (make proto). Do not edit.

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

DESCRIPTOR: FileDescriptor
ValueStatus: EnumTypeWrapper
PRESENT: int
NULL: int
NOT_FOUND: int
EXPIRED: int

class Column(Message):
    name: str
    @property
    def bools(self) -> RepeatedScalarFieldContainer[bool]: ...
    @property
    def int32s(self) -> RepeatedScalarFieldContainer[int]: ...
    @property
    def int64s(self) -> RepeatedScalarFieldContainer[int]: ...
    @property
    def float32s(self) -> RepeatedScalarFieldContainer[float]: ...
    @property
    def float64s(self) -> RepeatedScalarFieldContainer[float]: ...
    data: bytes
    @property
    def offsets(self) -> RepeatedScalarFieldContainer[int]: ...
    validity: bytes
    def __init__(self, *, name: str | None = ..., bools: Iterable[bool] | None = ..., int32s: Iterable[int] | None = ..., int64s: Iterable[int] | None = ..., float32s: Iterable[float] | None = ..., float64s: Iterable[float] | None = ..., data: bytes | None = ..., offsets: Iterable[int] | None = ..., validity: bytes | None = ...) -> None: ...

class FeatureSelection(Message):
    project: str
    service: str
    @property
    def features(self) -> RepeatedScalarFieldContainer[str]: ...
    event_timestamps: bool
    expired_values: bool
    def __init__(self, *, project: str | None = ..., service: str | None = ..., features: Iterable[str] | None = ..., event_timestamps: bool | None = ..., expired_values: bool | None = ...) -> None: ...

class GetFeaturesRequest(Message):
    @property
    def selection(self) -> FeatureSelection: ...
    @property
    def keys(self) -> RepeatedCompositeFieldContainer[Column]: ...
    known_schema_id: int
    def __init__(self, *, selection: FeatureSelection | Mapping[str, Any] | None = ..., keys: Iterable[Column | Mapping[str, Any]] | None = ..., known_schema_id: int | None = ...) -> None: ...

class GetFeaturesResponse(Message):
    rows: int
    schema_id: int
    @property
    def schema(self) -> AnswerSchema: ...
    @property
    def matrix(self) -> Column: ...
    @property
    def columns(self) -> RepeatedCompositeFieldContainer[Column]: ...
    row_statuses: bytes
    nulls: bytes
    @property
    def event_timestamps_us(self) -> RepeatedScalarFieldContainer[int]: ...
    def __init__(self, *, rows: int | None = ..., schema_id: int | None = ..., schema: AnswerSchema | Mapping[str, Any] | None = ..., matrix: Column | Mapping[str, Any] | None = ..., columns: Iterable[Column | Mapping[str, Any]] | None = ..., row_statuses: bytes | None = ..., nulls: bytes | None = ..., event_timestamps_us: Iterable[int] | None = ...) -> None: ...

class AnswerSchema(Message):
    @property
    def features(self) -> RepeatedCompositeFieldContainer[AnswerFeature]: ...
    @property
    def views(self) -> RepeatedScalarFieldContainer[str]: ...
    @property
    def join_keys(self) -> RepeatedCompositeFieldContainer[JoinKey]: ...
    @property
    def view_keys(self) -> RepeatedCompositeFieldContainer[ViewKeys]: ...
    def __init__(self, *, features: Iterable[AnswerFeature | Mapping[str, Any]] | None = ..., views: Iterable[str] | None = ..., join_keys: Iterable[JoinKey | Mapping[str, Any]] | None = ..., view_keys: Iterable[ViewKeys | Mapping[str, Any]] | None = ...) -> None: ...

class ViewKeys(Message):
    @property
    def join_keys(self) -> RepeatedScalarFieldContainer[int]: ...
    def __init__(self, *, join_keys: Iterable[int] | None = ...) -> None: ...

class AnswerFeature(Message):
    name: str
    type: str
    view_index: int
    feature: str
    def __init__(self, *, name: str | None = ..., type: str | None = ..., view_index: int | None = ..., feature: str | None = ...) -> None: ...

class WriteBatch(Message):
    @property
    def keys(self) -> RepeatedCompositeFieldContainer[Column]: ...
    @property
    def features(self) -> RepeatedCompositeFieldContainer[Column]: ...
    @property
    def event_timestamps_us(self) -> RepeatedScalarFieldContainer[int]: ...
    def __init__(self, *, keys: Iterable[Column | Mapping[str, Any]] | None = ..., features: Iterable[Column | Mapping[str, Any]] | None = ..., event_timestamps_us: Iterable[int] | None = ...) -> None: ...

class WriteCounts(Message):
    rows: int
    inserted: int
    updated: int
    equal: int
    older: int
    def __init__(self, *, rows: int | None = ..., inserted: int | None = ..., updated: int | None = ..., equal: int | None = ..., older: int | None = ...) -> None: ...

class WriteFeaturesRequest(Message):
    project: str
    view: str
    @property
    def batch(self) -> WriteBatch: ...
    def __init__(self, *, project: str | None = ..., view: str | None = ..., batch: WriteBatch | Mapping[str, Any] | None = ...) -> None: ...

class WriteFeaturesResponse(Message):
    @property
    def counts(self) -> WriteCounts: ...
    def __init__(self, *, counts: WriteCounts | Mapping[str, Any] | None = ...) -> None: ...

class IngestFeaturesRequest(Message):
    project: str
    view: str
    sequence: int
    @property
    def batch(self) -> WriteBatch: ...
    load: str
    def __init__(self, *, project: str | None = ..., view: str | None = ..., sequence: int | None = ..., batch: WriteBatch | Mapping[str, Any] | None = ..., load: str | None = ...) -> None: ...

class IngestFeaturesResponse(Message):
    sequence: int
    @property
    def counts(self) -> WriteCounts: ...
    def __init__(self, *, sequence: int | None = ..., counts: WriteCounts | Mapping[str, Any] | None = ...) -> None: ...

class DeleteFeaturesRequest(Message):
    project: str
    view: str
    @property
    def keys(self) -> RepeatedCompositeFieldContainer[Column]: ...
    @property
    def event_timestamps_us(self) -> RepeatedScalarFieldContainer[int]: ...
    def __init__(self, *, project: str | None = ..., view: str | None = ..., keys: Iterable[Column | Mapping[str, Any]] | None = ..., event_timestamps_us: Iterable[int] | None = ...) -> None: ...

class DeleteFeaturesResponse(Message):
    deleted: int
    absent: int
    older: int
    def __init__(self, *, deleted: int | None = ..., absent: int | None = ..., older: int | None = ...) -> None: ...

class BeginReplaceRequest(Message):
    project: str
    view: str
    source: str
    rows: int
    def __init__(self, *, project: str | None = ..., view: str | None = ..., source: str | None = ..., rows: int | None = ...) -> None: ...

class BeginReplaceResponse(Message):
    load: str
    idle_s: float
    def __init__(self, *, load: str | None = ..., idle_s: float | None = ...) -> None: ...

class CommitReplaceRequest(Message):
    load: str
    rows_min: int
    rows_max: int
    @property
    def max_null_fractions(self) -> MutableMapping[str, float]: ...
    max_drop: float
    def __init__(self, *, load: str | None = ..., rows_min: int | None = ..., rows_max: int | None = ..., max_null_fractions: Mapping[str, float] | None = ..., max_drop: float | None = ...) -> None: ...

class CommitReplaceResponse(Message):
    @property
    def version(self) -> Version: ...
    @property
    def former(self) -> Version: ...
    former_is_kept: bool
    def __init__(self, *, version: Version | Mapping[str, Any] | None = ..., former: Version | Mapping[str, Any] | None = ..., former_is_kept: bool | None = ...) -> None: ...

class AbortReplaceRequest(Message):
    load: str
    def __init__(self, *, load: str | None = ...) -> None: ...

class AbortReplaceResponse(Message):
    def __init__(self) -> None: ...

class RollbackRequest(Message):
    project: str
    view: str
    version: int
    def __init__(self, *, project: str | None = ..., view: str | None = ..., version: int | None = ...) -> None: ...

class RollbackResponse(Message):
    @property
    def version(self) -> Version: ...
    @property
    def former(self) -> Version: ...
    former_is_kept: bool
    def __init__(self, *, version: Version | Mapping[str, Any] | None = ..., former: Version | Mapping[str, Any] | None = ..., former_is_kept: bool | None = ...) -> None: ...

class Version(Message):
    number: int
    time_us: int
    rows: int
    source: str
    def __init__(self, *, number: int | None = ..., time_us: int | None = ..., rows: int | None = ..., source: str | None = ...) -> None: ...

class Project(Message):
    name: str
    description: str
    owner: str
    @property
    def tags(self) -> MutableMapping[str, str]: ...
    def __init__(self, *, name: str | None = ..., description: str | None = ..., owner: str | None = ..., tags: Mapping[str, str] | None = ...) -> None: ...

class JoinKey(Message):
    name: str
    type: str
    def __init__(self, *, name: str | None = ..., type: str | None = ...) -> None: ...

class Entity(Message):
    project: str
    name: str
    description: str
    owner: str
    @property
    def tags(self) -> MutableMapping[str, str]: ...
    @property
    def join_keys(self) -> RepeatedCompositeFieldContainer[JoinKey]: ...
    def __init__(self, *, project: str | None = ..., name: str | None = ..., description: str | None = ..., owner: str | None = ..., tags: Mapping[str, str] | None = ..., join_keys: Iterable[JoinKey | Mapping[str, Any]] | None = ...) -> None: ...

class Field(Message):
    name: str
    type: str
    description: str
    @property
    def tags(self) -> MutableMapping[str, str]: ...
    def __init__(self, *, name: str | None = ..., type: str | None = ..., description: str | None = ..., tags: Mapping[str, str] | None = ...) -> None: ...

class BatchSource(Message):
    path: str
    timestamp_column: str
    @property
    def columns(self) -> MutableMapping[str, str]: ...
    def __init__(self, *, path: str | None = ..., timestamp_column: str | None = ..., columns: Mapping[str, str] | None = ...) -> None: ...

class FeatureView(Message):
    project: str
    name: str
    description: str
    owner: str
    @property
    def tags(self) -> MutableMapping[str, str]: ...
    entity: str
    @property
    def features(self) -> RepeatedCompositeFieldContainer[Field]: ...
    ttl: str
    retention: str
    @property
    def source(self) -> BatchSource: ...
    def __init__(self, *, project: str | None = ..., name: str | None = ..., description: str | None = ..., owner: str | None = ..., tags: Mapping[str, str] | None = ..., entity: str | None = ..., features: Iterable[Field | Mapping[str, Any]] | None = ..., ttl: str | None = ..., retention: str | None = ..., source: BatchSource | Mapping[str, Any] | None = ...) -> None: ...

class FeatureReference(Message):
    view: str
    feature: str
    name: str
    @property
    def join_keys(self) -> MutableMapping[str, str]: ...
    def __init__(self, *, view: str | None = ..., feature: str | None = ..., name: str | None = ..., join_keys: Mapping[str, str] | None = ...) -> None: ...

class FeatureService(Message):
    project: str
    name: str
    description: str
    owner: str
    @property
    def tags(self) -> MutableMapping[str, str]: ...
    @property
    def features(self) -> RepeatedCompositeFieldContainer[FeatureReference]: ...
    def __init__(self, *, project: str | None = ..., name: str | None = ..., description: str | None = ..., owner: str | None = ..., tags: Mapping[str, str] | None = ..., features: Iterable[FeatureReference | Mapping[str, Any]] | None = ...) -> None: ...

class Definitions(Message):
    @property
    def projects(self) -> RepeatedCompositeFieldContainer[Project]: ...
    @property
    def entities(self) -> RepeatedCompositeFieldContainer[Entity]: ...
    @property
    def feature_views(self) -> RepeatedCompositeFieldContainer[FeatureView]: ...
    @property
    def feature_services(self) -> RepeatedCompositeFieldContainer[FeatureService]: ...
    def __init__(self, *, projects: Iterable[Project | Mapping[str, Any]] | None = ..., entities: Iterable[Entity | Mapping[str, Any]] | None = ..., feature_views: Iterable[FeatureView | Mapping[str, Any]] | None = ..., feature_services: Iterable[FeatureService | Mapping[str, Any]] | None = ...) -> None: ...

class ApplyRequest(Message):
    @property
    def definitions(self) -> Definitions: ...
    dry_run: bool
    prune: bool
    base_version: int
    def __init__(self, *, definitions: Definitions | Mapping[str, Any] | None = ..., dry_run: bool | None = ..., prune: bool | None = ..., base_version: int | None = ...) -> None: ...

class ApplyResponse(Message):
    @property
    def changes(self) -> RepeatedCompositeFieldContainer[Change]: ...
    applied: bool
    base_version: int
    def __init__(self, *, changes: Iterable[Change | Mapping[str, Any]] | None = ..., applied: bool | None = ..., base_version: int | None = ...) -> None: ...

class Change(Message):
    Action: EnumTypeWrapper
    ACTION_UNSPECIFIED: int
    CREATE: int
    UPDATE: int
    DELETE: int
    action: int
    kind: str
    project: str
    name: str
    @property
    def differences(self) -> RepeatedScalarFieldContainer[str]: ...
    effect: str
    def __init__(self, *, action: int | None = ..., kind: str | None = ..., project: str | None = ..., name: str | None = ..., differences: Iterable[str] | None = ..., effect: str | None = ...) -> None: ...

class ListProjectsRequest(Message):
    def __init__(self) -> None: ...

class ListProjectsResponse(Message):
    @property
    def projects(self) -> RepeatedCompositeFieldContainer[Project]: ...
    def __init__(self, *, projects: Iterable[Project | Mapping[str, Any]] | None = ...) -> None: ...

class ListEntitiesRequest(Message):
    project: str
    def __init__(self, *, project: str | None = ...) -> None: ...

class ListEntitiesResponse(Message):
    @property
    def entities(self) -> RepeatedCompositeFieldContainer[Entity]: ...
    def __init__(self, *, entities: Iterable[Entity | Mapping[str, Any]] | None = ...) -> None: ...

class ListFeatureViewsRequest(Message):
    project: str
    def __init__(self, *, project: str | None = ...) -> None: ...

class ListFeatureViewsResponse(Message):
    @property
    def feature_views(self) -> RepeatedCompositeFieldContainer[FeatureView]: ...
    def __init__(self, *, feature_views: Iterable[FeatureView | Mapping[str, Any]] | None = ...) -> None: ...

class ListFeatureServicesRequest(Message):
    project: str
    def __init__(self, *, project: str | None = ...) -> None: ...

class ListFeatureServicesResponse(Message):
    @property
    def feature_services(self) -> RepeatedCompositeFieldContainer[FeatureService]: ...
    def __init__(self, *, feature_services: Iterable[FeatureService | Mapping[str, Any]] | None = ...) -> None: ...

class ListTablesRequest(Message):
    project: str
    def __init__(self, *, project: str | None = ...) -> None: ...

class ListTablesResponse(Message):
    @property
    def tables(self) -> RepeatedCompositeFieldContainer[Table]: ...
    def __init__(self, *, tables: Iterable[Table | Mapping[str, Any]] | None = ...) -> None: ...

class Table(Message):
    project: str
    view: str
    rows: int
    deleted_rows: int
    memory_bytes: int
    row_bytes: int
    shards: int
    generation: int
    def __init__(self, *, project: str | None = ..., view: str | None = ..., rows: int | None = ..., deleted_rows: int | None = ..., memory_bytes: int | None = ..., row_bytes: int | None = ..., shards: int | None = ..., generation: int | None = ...) -> None: ...

class DescribeEntityRequest(Message):
    project: str
    name: str
    def __init__(self, *, project: str | None = ..., name: str | None = ...) -> None: ...

class DescribeEntityResponse(Message):
    @property
    def entity(self) -> Entity: ...
    @property
    def feature_views(self) -> RepeatedScalarFieldContainer[str]: ...
    def __init__(self, *, entity: Entity | Mapping[str, Any] | None = ..., feature_views: Iterable[str] | None = ...) -> None: ...

class DescribeFeatureViewRequest(Message):
    project: str
    name: str
    def __init__(self, *, project: str | None = ..., name: str | None = ...) -> None: ...

class DescribeFeatureViewResponse(Message):
    @property
    def feature_view(self) -> FeatureView: ...
    @property
    def table(self) -> Table: ...
    @property
    def feature_services(self) -> RepeatedScalarFieldContainer[str]: ...
    @property
    def version(self) -> Version: ...
    @property
    def kept(self) -> RepeatedCompositeFieldContainer[Version]: ...
    def __init__(self, *, feature_view: FeatureView | Mapping[str, Any] | None = ..., table: Table | Mapping[str, Any] | None = ..., feature_services: Iterable[str] | None = ..., version: Version | Mapping[str, Any] | None = ..., kept: Iterable[Version | Mapping[str, Any]] | None = ...) -> None: ...

class DescribeFeatureServiceRequest(Message):
    project: str
    name: str
    def __init__(self, *, project: str | None = ..., name: str | None = ...) -> None: ...

class DescribeFeatureServiceResponse(Message):
    @property
    def feature_service(self) -> FeatureService: ...
    @property
    def schema(self) -> AnswerSchema: ...
    def __init__(self, *, feature_service: FeatureService | Mapping[str, Any] | None = ..., schema: AnswerSchema | Mapping[str, Any] | None = ...) -> None: ...

class GetSharedMemoryRequest(Message):
    def __init__(self) -> None: ...

class GetSharedMemoryResponse(Message):
    directory: str
    instance: int
    def __init__(self, *, directory: str | None = ..., instance: int | None = ...) -> None: ...

class GetStatusRequest(Message):
    def __init__(self) -> None: ...

class GetStatusResponse(Message):
    version: str
    @property
    def processes(self) -> RepeatedCompositeFieldContainer[Process]: ...
    @property
    def recovered(self) -> Recovered: ...
    def __init__(self, *, version: str | None = ..., processes: Iterable[Process | Mapping[str, Any]] | None = ..., recovered: Recovered | Mapping[str, Any] | None = ...) -> None: ...

class Recovered(Message):
    records: int
    tables: int
    cut_bytes: int
    seconds: float
    def __init__(self, *, records: int | None = ..., tables: int | None = ..., cut_bytes: int | None = ..., seconds: float | None = ...) -> None: ...

class Process(Message):
    role: str
    number: int
    state: str
    pid: int
    uptime_s: float
    restarts: int
    connections: int
    requests: int
    resident_bytes: int
    shared_bytes: int
    refused: int
    def __init__(self, *, role: str | None = ..., number: int | None = ..., state: str | None = ..., pid: int | None = ..., uptime_s: float | None = ..., restarts: int | None = ..., connections: int | None = ..., requests: int | None = ..., resident_bytes: int | None = ..., shared_bytes: int | None = ..., refused: int | None = ...) -> None: ...

class ExportFeaturesRequest(Message):
    project: str
    view: str
    expired_rows: bool
    def __init__(self, *, project: str | None = ..., view: str | None = ..., expired_rows: bool | None = ...) -> None: ...

class ExportFeaturesResponse(Message):
    rows_expected: int
    @property
    def batch(self) -> WriteBatch: ...
    def __init__(self, *, rows_expected: int | None = ..., batch: WriteBatch | Mapping[str, Any] | None = ...) -> None: ...

class TakeSnapshotRequest(Message):
    def __init__(self) -> None: ...

class TakeSnapshotResponse(Message):
    base: int
    records: int
    bytes: int
    seconds: float
    def __init__(self, *, base: int | None = ..., records: int | None = ..., bytes: int | None = ..., seconds: float | None = ...) -> None: ...

class BackupRequest(Message):
    @property
    def known(self) -> RepeatedCompositeFieldContainer[BackupFile]: ...
    def __init__(self, *, known: Iterable[BackupFile | Mapping[str, Any]] | None = ...) -> None: ...

class BackupResponse(Message):
    @property
    def state(self) -> BackupState: ...
    data: bytes
    @property
    def file(self) -> BackupFile: ...
    def __init__(self, *, state: BackupState | Mapping[str, Any] | None = ..., data: bytes | None = ..., file: BackupFile | Mapping[str, Any] | None = ...) -> None: ...

class BackupState(Message):
    version: str
    created_us: int
    journal: int
    base: int
    last: int
    @property
    def files(self) -> RepeatedCompositeFieldContainer[BackupFile]: ...
    def __init__(self, *, version: str | None = ..., created_us: int | None = ..., journal: int | None = ..., base: int | None = ..., last: int | None = ..., files: Iterable[BackupFile | Mapping[str, Any]] | None = ...) -> None: ...

class BackupFile(Message):
    name: str
    bytes: int
    checksum: int
    def __init__(self, *, name: str | None = ..., bytes: int | None = ..., checksum: int | None = ...) -> None: ...

class Status(Message):
    code: int
    message: str
    @property
    def details(self) -> RepeatedCompositeFieldContainer[AnyMessage]: ...
    def __init__(self, *, code: int | None = ..., message: str | None = ..., details: Iterable[AnyMessage | Mapping[str, Any]] | None = ...) -> None: ...

class ErrorDetails(Message):
    @property
    def violations(self) -> RepeatedCompositeFieldContainer[Violation]: ...
    def __init__(self, *, violations: Iterable[Violation | Mapping[str, Any]] | None = ...) -> None: ...

class Violation(Message):
    field: str
    value: str
    expected: str
    object: str
    def __init__(self, *, field: str | None = ..., value: str | None = ..., expected: str | None = ..., object: str | None = ...) -> None: ...
