"""Apply, the lists and the descriptions: definitions between messages and models.

A message as a mapping has the shape of the YAML document, so both directions go through that one shape.
"""

from collections.abc import Awaitable
from typing import TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from pydantic import BaseModel

from featurestore.errors import NotFoundError
from featurestore.model import DEFAULT_PROJECT
from featurestore.registry import Plan, parse_definitions
from featurestore.server.columns import checked_name
from featurestore.server.context import CallContext
from featurestore.server.feature_methods import schema_of
from featurestore.server.messages import parse
from featurestore.server.replace_methods import version_message
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.service import OnlineReader, OnlineStore, Selection
from featurestore.store import TableReader

_Message = TypeVar("_Message", bound=Message)

_ACTIONS = {"create": public.Change.CREATE, "update": public.Change.UPDATE, "delete": public.Change.DELETE}


class DefinitionChanges:
    """The handler of Apply, over the service that owns the store."""

    def __init__(self, service: OnlineStore) -> None:
        self._service = service

    def apply(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """Apply. Runs beside the event loop."""
        request = parse(public.ApplyRequest, data)
        return self._apply(request, context)

    async def _apply(self, request: public.ApplyRequest, context: CallContext) -> bytes:
        desired = parse_definitions(MessageToDict(request.definitions, preserving_proto_field_name=True))
        plan = await self._service.apply(
            desired,
            prune=request.prune,
            dry_run=request.dry_run,
            base_version=request.base_version if request.HasField("base_version") else None,
            begin=context.check_deadline,
        )
        return _applied(plan, not request.dry_run).SerializeToString()


class DefinitionReads:
    """The handlers of the lists and descriptions, over any service that reads."""

    def __init__(self, service: OnlineReader) -> None:
        self._service = service

    def list_projects(self, data: bytes, context: CallContext) -> bytes:
        """ListProjects."""
        parse(public.ListProjectsRequest, data)
        response = public.ListProjectsResponse()
        response.projects.extend(_message(project, public.Project()) for project in self._service.definitions.projects)
        return response.SerializeToString()

    def list_entities(self, data: bytes, context: CallContext) -> bytes:
        """ListEntities."""
        project = self._project(parse(public.ListEntitiesRequest, data).project)
        response = public.ListEntitiesResponse()
        for entity in self._service.definitions.entities:
            if project in ("", entity.project):
                response.entities.append(_message(entity, public.Entity()))
        return response.SerializeToString()

    def list_feature_views(self, data: bytes, context: CallContext) -> bytes:
        """ListFeatureViews."""
        project = self._project(parse(public.ListFeatureViewsRequest, data).project)
        response = public.ListFeatureViewsResponse()
        for view in self._service.definitions.feature_views:
            if project in ("", view.project):
                response.feature_views.append(_message(view, public.FeatureView()))
        return response.SerializeToString()

    def list_feature_services(self, data: bytes, context: CallContext) -> bytes:
        """ListFeatureServices."""
        project = self._project(parse(public.ListFeatureServicesRequest, data).project)
        response = public.ListFeatureServicesResponse()
        for service in self._service.definitions.feature_services:
            if project in ("", service.project):
                response.feature_services.append(_message(service, public.FeatureService()))
        return response.SerializeToString()

    def list_tables(self, data: bytes, context: CallContext) -> bytes:
        """ListTables."""
        project = self._project(parse(public.ListTablesRequest, data).project)
        response = public.ListTablesResponse()
        names = sorted((view.project, view.name) for view in self._service.definitions.feature_views)
        response.tables.extend(_table(self._service.table(*name)) for name in names if project in ("", name[0]))
        return response.SerializeToString()

    def describe_entity(self, data: bytes, context: CallContext) -> bytes:
        """DescribeEntity."""
        request = parse(public.DescribeEntityRequest, data)
        project, name = checked_name("project", request.project) or DEFAULT_PROJECT, checked_name("name", request.name)
        entity = self._service.definitions.entity(project, name)
        views = (view for view in self._service.definitions.feature_views if (view.project, view.entity) == (project, name))
        response = public.DescribeEntityResponse(feature_views=[view.name for view in views])
        _message(entity, response.entity)
        return response.SerializeToString()

    def describe_feature_view(self, data: bytes, context: CallContext) -> bytes:
        """DescribeFeatureView."""
        request = parse(public.DescribeFeatureViewRequest, data)
        project, name = checked_name("project", request.project) or DEFAULT_PROJECT, checked_name("name", request.name)
        view = self._service.definitions.feature_view(project, name)
        readers = (
            service.name
            for service in self._service.definitions.feature_services
            if service.project == project and any(reference.view == name for reference in service.features)
        )
        versions = self._service.versions(project, name)
        response = public.DescribeFeatureViewResponse(
            table=_table(self._service.table(project, name)),
            feature_services=readers,
            version=version_message(versions.current),
            kept=map(version_message, versions.kept),
        )
        _message(view, response.feature_view)
        return response.SerializeToString()

    def describe_feature_service(self, data: bytes, context: CallContext) -> bytes:
        """DescribeFeatureService."""
        request = parse(public.DescribeFeatureServiceRequest, data)
        project, name = checked_name("project", request.project) or DEFAULT_PROJECT, checked_name("name", request.name)
        service = self._service.definitions.feature_service(project, name)
        response = wire.DescribeFeatureServiceResponse()
        response.schema.CopyFrom(schema_of(self._service.read_plan(Selection(project, service=name))))
        _message(service, response.feature_service)
        return response.SerializeToString()

    def _project(self, name: str) -> str:
        """The project to list; empty for all."""
        known = [project.name for project in self._service.definitions.projects]
        if name and name not in known:
            raise NotFoundError.of("project", checked_name("project", name), known)
        return name


def _message(definition: BaseModel, message: _Message) -> _Message:
    """Fills a message from a definition."""
    return ParseDict(definition.model_dump(mode="json", exclude_none=True), message)


def _applied(plan: Plan, applied: bool) -> public.ApplyResponse:
    response = public.ApplyResponse(applied=applied, base_version=plan.base_version)
    for change in plan.changes:
        response.changes.add(
            action=_ACTIONS[change.action],
            kind=change.kind,
            project=change.project,
            name=change.name,
            differences=change.differences,
            effect=change.effect,
        )
    return response


def _table(table: TableReader) -> public.Table:
    stats = table.stats()
    return public.Table(
        project=table.view.project,
        view=table.view.view,
        rows=stats.rows,
        deleted_rows=stats.deleted_rows,
        memory_bytes=stats.memory_bytes,
        row_bytes=stats.row_bytes,
        shards=stats.shards,
        generation=stats.generation,
    )
