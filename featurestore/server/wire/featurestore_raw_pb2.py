# Generated from featurestore/v1/featurestore.proto by proto/generate.py (make proto). Do not edit.

from google.protobuf import any_pb2 as _any_pb2  # noqa: F401  the descriptor refers to it
from google.protobuf.descriptor_pool import Default as _default_pool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper as _EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass as _message_class

DESCRIPTOR = _default_pool().AddSerializedFile(
    b'\n&featurestore/v1/featurestore_raw.proto\x12\x13featurestore.v1.raw\x1a\x19g'
    b'oogle/protobuf/any.proto"\x9a\x01\n\x06Column\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\r\n\x05bools\x18\x02 \x01(\x0c'
    b'\x12\x0e\n\x06int32s\x18\x03 \x01(\x0c\x12\x0e\n\x06int64s\x18\x04 \x01(\x0c\x12\x10\n\x08float32s\x18\x05 \x01(\x0c\x12\x10\n\x08float64s\x18\x06'
    b' \x01(\x0c\x12\x0c\n\x04data\x18\x07 \x01(\x0c\x12\x0f\n\x07offsets\x18\x08 \x01(\x0c\x12\x10\n\x08validity\x18\t \x01(\x0c"x\n\x10Feature'
    b'Selection\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0f\n\x07service\x18\x02 \x01(\t\x12\x10\n\x08features\x18\x03 \x03(\t\x12\x18\n'
    b'\x10event_timestamps\x18\x04 \x01(\x08\x12\x16\n\x0eexpired_values\x18\x05 \x01(\x08"k\n\x12GetFeaturesRe'
    b'quest\x12\x11\n\tselection\x18\x01 \x01(\x0c\x12)\n\x04keys\x18\x02 \x03(\x0b2\x1b.featurestore.v1.raw.Col'
    b'umn\x12\x17\n\x0fknown_schema_id\x18\x03 \x01(\x06"\xe3\x01\n\x13GetFeaturesResponse\x12\x0c\n\x04rows\x18\x01 \x01'
    b'(\r\x12\x11\n\tschema_id\x18\x02 \x01(\x06\x12\x0e\n\x06schema\x18\x03 \x01(\x0c\x12+\n\x06matrix\x18\x04 \x01(\x0b2\x1b.features'
    b'tore.v1.raw.Column\x12,\n\x07columns\x18\x05 \x03(\x0b2\x1b.featurestore.v1.raw.Column'
    b'\x12\x14\n\x0crow_statuses\x18\x06 \x01(\x0c\x12\r\n\x05nulls\x18\x07 \x01(\x0c\x12\x1b\n\x13event_timestamps_us\x18\x08 \x01'
    b'(\x0c"\xb6\x01\n\x0cAnswerSchema\x124\n\x08features\x18\x01 \x03(\x0b2".featurestore.v1.raw.Answ'
    b'erFeature\x12\r\n\x05views\x18\x02 \x03(\t\x12/\n\tjoin_keys\x18\x03 \x03(\x0b2\x1c.featurestore.v1.ra'
    b'w.JoinKey\x120\n\tview_keys\x18\x04 \x03(\x0b2\x1d.featurestore.v1.raw.ViewKeys"\x1d\n\x08V'
    b'iewKeys\x12\x11\n\tjoin_keys\x18\x01 \x03(\r"P\n\rAnswerFeature\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04typ'
    b'e\x18\x02 \x01(\t\x12\x12\n\nview_index\x18\x03 \x01(\r\x12\x0f\n\x07feature\x18\x04 \x01(\t"\x83\x01\n\nWriteBatch\x12)\n\x04k'
    b'eys\x18\x01 \x03(\x0b2\x1b.featurestore.v1.raw.Column\x12-\n\x08features\x18\x02 \x03(\x0b2\x1b.featu'
    b'restore.v1.raw.Column\x12\x1b\n\x13event_timestamps_us\x18\x03 \x01(\x0c"\\\n\x0bWriteCount'
    b's\x12\x0c\n\x04rows\x18\x01 \x01(\x04\x12\x10\n\x08inserted\x18\x02 \x01(\x04\x12\x0f\n\x07updated\x18\x03 \x01(\x04\x12\r\n\x05equal\x18\x04 \x01('
    b'\x04\x12\r\n\x05older\x18\x05 \x01(\x04"e\n\x14WriteFeaturesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04vie'
    b'w\x18\x02 \x01(\t\x12.\n\x05batch\x18\x03 \x01(\x0b2\x1f.featurestore.v1.raw.WriteBatch"I\n\x15Write'
    b'FeaturesResponse\x120\n\x06counts\x18\x01 \x01(\x0b2 .featurestore.v1.raw.WriteCoun'
    b'ts"\x86\x01\n\x15IngestFeaturesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x10\n\x08s'
    b'equence\x18\x03 \x01(\x04\x12.\n\x05batch\x18\x04 \x01(\x0b2\x1f.featurestore.v1.raw.WriteBatch\x12\x0c\n'
    b'\x04load\x18\x05 \x01(\t"\\\n\x16IngestFeaturesResponse\x12\x10\n\x08sequence\x18\x01 \x01(\x04\x120\n\x06count'
    b's\x18\x02 \x01(\x0b2 .featurestore.v1.raw.WriteCounts"~\n\x15DeleteFeaturesReque'
    b'st\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12)\n\x04keys\x18\x03 \x03(\x0b2\x1b.featurestore.v'
    b'1.raw.Column\x12\x1b\n\x13event_timestamps_us\x18\x04 \x01(\x0c"H\n\x16DeleteFeaturesRespo'
    b'nse\x12\x0f\n\x07deleted\x18\x01 \x01(\x04\x12\x0e\n\x06absent\x18\x02 \x01(\x04\x12\r\n\x05older\x18\x03 \x01(\x04"R\n\x13BeginRepl'
    b'aceRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x0e\n\x06source\x18\x03 \x01(\t\x12\x0c\n\x04row'
    b's\x18\x04 \x01(\x04"4\n\x14BeginReplaceResponse\x12\x0c\n\x04load\x18\x01 \x01(\t\x12\x0e\n\x06idle_s\x18\x02 \x01(\x01"\x84\x02'
    b'\n\x14CommitReplaceRequest\x12\x0c\n\x04load\x18\x01 \x01(\t\x12\x10\n\x08rows_min\x18\x02 \x01(\x04\x12\x12\n\x08rows_m'
    b'ax\x18\x03 \x01(\x04H\x00\x12[\n\x12max_null_fractions\x18\x04 \x03(\x0b2?.featurestore.v1.raw.Com'
    b'mitReplaceRequest.MaxNullFractionsEntry\x12\x12\n\x08max_drop\x18\x05 \x01(\x01H\x01\x1a7\n\x15M'
    b'axNullFractionsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\x01:\x028\x01B\x06\n\x04mostB\x06\n\x04'
    b'drop"\x8c\x01\n\x15CommitReplaceResponse\x12-\n\x07version\x18\x01 \x01(\x0b2\x1c.featurestore.v'
    b'1.raw.Version\x12,\n\x06former\x18\x02 \x01(\x0b2\x1c.featurestore.v1.raw.Version\x12\x16\n\x0ef'
    b'ormer_is_kept\x18\x03 \x01(\x08"#\n\x13AbortReplaceRequest\x12\x0c\n\x04load\x18\x01 \x01(\t"\x16\n\x14Abor'
    b'tReplaceResponse"A\n\x0fRollbackRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01'
    b'(\t\x12\x0f\n\x07version\x18\x03 \x01(\x04"\x87\x01\n\x10RollbackResponse\x12-\n\x07version\x18\x01 \x01(\x0b2\x1c.feat'
    b'urestore.v1.raw.Version\x12,\n\x06former\x18\x02 \x01(\x0b2\x1c.featurestore.v1.raw.Ve'
    b'rsion\x12\x16\n\x0eformer_is_kept\x18\x03 \x01(\x08"H\n\x07Version\x12\x0e\n\x06number\x18\x01 \x01(\x04\x12\x0f\n\x07time'
    b'_us\x18\x02 \x01(\x03\x12\x0c\n\x04rows\x18\x03 \x01(\x04\x12\x0e\n\x06source\x18\x04 \x01(\t"\x9e\x01\n\x07Project\x12\x0c\n\x04name\x18\x01 \x01('
    b'\t\x12\x13\n\x0bdescription\x18\x02 \x01(\t\x12\r\n\x05owner\x18\x03 \x01(\t\x124\n\x04tags\x18\x04 \x03(\x0b2&.featuresto'
    b're.v1.raw.Project.TagsEntry\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02'
    b' \x01(\t:\x028\x01"%\n\x07JoinKey\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04type\x18\x02 \x01(\t"\xde\x01\n\x06Entity\x12\x0f\n\x07pr'
    b'oject\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04 \x01(\t\x123\n'
    b'\x04tags\x18\x05 \x03(\x0b2%.featurestore.v1.raw.Entity.TagsEntry\x12/\n\tjoin_keys\x18'
    b'\x06 \x03(\x0b2\x1c.featurestore.v1.raw.JoinKey\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n'
    b'\x05value\x18\x02 \x01(\t:\x028\x01"\x99\x01\n\x05Field\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04type\x18\x02 \x01(\t\x12\x13\n\x0bdescri'
    b'ption\x18\x03 \x01(\t\x122\n\x04tags\x18\x04 \x03(\x0b2$.featurestore.v1.raw.Field.TagsEntry\x1a'
    b'+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xa5\x01\n\x0bBatchSource\x12\x0c\n\x04'
    b'path\x18\x01 \x01(\t\x12\x18\n\x10timestamp_column\x18\x02 \x01(\t\x12>\n\x07columns\x18\x03 \x03(\x0b2-.features'
    b'tore.v1.raw.BatchSource.ColumnsEntry\x1a.\n\x0cColumnsEntry\x12\x0b\n\x03key\x18\x01 \x01('
    b'\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xc7\x02\n\x0bFeatureView\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 '
    b'\x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04 \x01(\t\x128\n\x04tags\x18\x05 \x03(\x0b2*.features'
    b'tore.v1.raw.FeatureView.TagsEntry\x12\x0e\n\x06entity\x18\x06 \x01(\t\x12,\n\x08features\x18\x07 '
    b'\x03(\x0b2\x1a.featurestore.v1.raw.Field\x12\x0b\n\x03ttl\x18\x08 \x01(\t\x12\x11\n\tretention\x18\t \x01(\t\x12'
    b'0\n\x06source\x18\n \x01(\x0b2 .featurestore.v1.raw.BatchSource\x1a+\n\tTagsEntry\x12\x0b'
    b'\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xb8\x01\n\x10FeatureReference\x12\x0c\n\x04view\x18\x01 \x01('
    b'\t\x12\x0f\n\x07feature\x18\x02 \x01(\t\x12\x0c\n\x04name\x18\x03 \x01(\t\x12F\n\tjoin_keys\x18\x04 \x03(\x0b23.featuresto'
    b're.v1.raw.FeatureReference.JoinKeysEntry\x1a/\n\rJoinKeysEntry\x12\x0b\n\x03key'
    b'\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xf6\x01\n\x0eFeatureService\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n'
    b'\x04name\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04 \x01(\t\x12;\n\x04tags\x18\x05 \x03(\x0b2-.'
    b'featurestore.v1.raw.FeatureService.TagsEntry\x127\n\x08features\x18\x06 \x03(\x0b2%'
    b'.featurestore.v1.raw.FeatureReference\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12'
    b'\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xe4\x01\n\x0bDefinitions\x12.\n\x08projects\x18\x01 \x03(\x0b2\x1c.featurest'
    b'ore.v1.raw.Project\x12-\n\x08entities\x18\x02 \x03(\x0b2\x1b.featurestore.v1.raw.Entit'
    b'y\x127\n\rfeature_views\x18\x03 \x03(\x0b2 .featurestore.v1.raw.FeatureView\x12=\n\x10fe'
    b'ature_services\x18\x04 \x03(\x0b2#.featurestore.v1.raw.FeatureService"\x85\x01\n\x0cAp'
    b'plyRequest\x125\n\x0bdefinitions\x18\x01 \x01(\x0b2 .featurestore.v1.raw.Definition'
    b's\x12\x0f\n\x07dry_run\x18\x02 \x01(\x08\x12\r\n\x05prune\x18\x03 \x01(\x08\x12\x16\n\x0cbase_version\x18\x04 \x01(\x04H\x00B\x06\n\x04bas'
    b'e"d\n\rApplyResponse\x12,\n\x07changes\x18\x01 \x03(\x0b2\x1b.featurestore.v1.raw.Change'
    b'\x12\x0f\n\x07applied\x18\x02 \x01(\x08\x12\x14\n\x0cbase_version\x18\x03 \x01(\x04"\xd4\x01\n\x06Change\x122\n\x06action\x18\x01 \x01'
    b'(\x0e2".featurestore.v1.raw.Change.Action\x12\x0c\n\x04kind\x18\x02 \x01(\t\x12\x0f\n\x07project\x18'
    b'\x03 \x01(\t\x12\x0c\n\x04name\x18\x04 \x01(\t\x12\x13\n\x0bdifferences\x18\x05 \x03(\t\x12\x0e\n\x06effect\x18\x06 \x01(\t"D\n\x06Acti'
    b'on\x12\x16\n\x12ACTION_UNSPECIFIED\x10\x00\x12\n\n\x06CREATE\x10\x01\x12\n\n\x06UPDATE\x10\x02\x12\n\n\x06DELETE\x10\x03"\x15'
    b'\n\x13ListProjectsRequest"F\n\x14ListProjectsResponse\x12.\n\x08projects\x18\x01 \x03(\x0b2'
    b'\x1c.featurestore.v1.raw.Project"&\n\x13ListEntitiesRequest\x12\x0f\n\x07project\x18'
    b'\x01 \x01(\t"E\n\x14ListEntitiesResponse\x12-\n\x08entities\x18\x01 \x03(\x0b2\x1b.featurestore.v'
    b'1.raw.Entity"*\n\x17ListFeatureViewsRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"S\n\x18List'
    b'FeatureViewsResponse\x127\n\rfeature_views\x18\x01 \x03(\x0b2 .featurestore.v1.ra'
    b'w.FeatureView"-\n\x1aListFeatureServicesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"\\\n\x1b'
    b'ListFeatureServicesResponse\x12=\n\x10feature_services\x18\x01 \x03(\x0b2#.features'
    b'tore.v1.raw.FeatureService"$\n\x11ListTablesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t'
    b'"@\n\x12ListTablesResponse\x12*\n\x06tables\x18\x01 \x03(\x0b2\x1a.featurestore.v1.raw.Tab'
    b'le"\x97\x01\n\x05Table\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x0c\n\x04rows\x18\x03 \x01(\x04\x12\x14\n\x0cdel'
    b'eted_rows\x18\x04 \x01(\x04\x12\x14\n\x0cmemory_bytes\x18\x05 \x01(\x04\x12\x11\n\trow_bytes\x18\x06 \x01(\x04\x12\x0e\n\x06shar'
    b'ds\x18\x07 \x01(\x04\x12\x12\n\ngeneration\x18\x08 \x01(\x04"6\n\x15DescribeEntityRequest\x12\x0f\n\x07project'
    b'\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"\\\n\x16DescribeEntityResponse\x12+\n\x06entity\x18\x01 \x01(\x0b2\x1b'
    b'.featurestore.v1.raw.Entity\x12\x15\n\rfeature_views\x18\x02 \x03(\t";\n\x1aDescribeFe'
    b'atureViewRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"\xf5\x01\n\x1bDescribeFeat'
    b'ureViewResponse\x126\n\x0cfeature_view\x18\x01 \x01(\x0b2 .featurestore.v1.raw.Feat'
    b'ureView\x12)\n\x05table\x18\x02 \x01(\x0b2\x1a.featurestore.v1.raw.Table\x12\x18\n\x10feature_se'
    b'rvices\x18\x03 \x03(\t\x12-\n\x07version\x18\x04 \x01(\x0b2\x1c.featurestore.v1.raw.Version\x12*\n\x04k'
    b'ept\x18\x05 \x03(\x0b2\x1c.featurestore.v1.raw.Version">\n\x1dDescribeFeatureServic'
    b'eRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"\x91\x01\n\x1eDescribeFeatureServi'
    b'ceResponse\x12<\n\x0ffeature_service\x18\x01 \x01(\x0b2#.featurestore.v1.raw.Featur'
    b'eService\x121\n\x06schema\x18\x02 \x01(\x0b2!.featurestore.v1.raw.AnswerSchema"\x18\n\x16G'
    b'etSharedMemoryRequest">\n\x17GetSharedMemoryResponse\x12\x11\n\tdirectory\x18\x01 '
    b'\x01(\t\x12\x10\n\x08instance\x18\x02 \x01(\x06"\x12\n\x10GetStatusRequest"\x88\x01\n\x11GetStatusResponse\x12'
    b'\x0f\n\x07version\x18\x01 \x01(\t\x12/\n\tprocesses\x18\x02 \x03(\x0b2\x1c.featurestore.v1.raw.Proces'
    b's\x121\n\trecovered\x18\x03 \x01(\x0b2\x1e.featurestore.v1.raw.Recovered"P\n\tRecovere'
    b'd\x12\x0f\n\x07records\x18\x01 \x01(\x04\x12\x0e\n\x06tables\x18\x02 \x01(\x04\x12\x11\n\tcut_bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds'
    b'\x18\x04 \x01(\x01"\xd7\x01\n\x07Process\x12\x0c\n\x04role\x18\x01 \x01(\t\x12\x0e\n\x06number\x18\x02 \x01(\r\x12\r\n\x05state\x18\x03 \x01(\t\x12'
    b'\x0b\n\x03pid\x18\x04 \x01(\x04\x12\x10\n\x08uptime_s\x18\x05 \x01(\x01\x12\x10\n\x08restarts\x18\x06 \x01(\x04\x12\x15\n\x0bconnections\x18'
    b'\x07 \x01(\x04H\x00\x12\x10\n\x08requests\x18\x08 \x01(\x04\x12\x16\n\x0eresident_bytes\x18\t \x01(\x04\x12\x14\n\x0cshared_byte'
    b's\x18\n \x01(\x04\x12\x0f\n\x07refused\x18\x0b \x01(\x04B\x06\n\x04told"L\n\x15ExportFeaturesRequest\x12\x0f\n\x07pro'
    b'ject\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x14\n\x0cexpired_rows\x18\x03 \x01(\x08"_\n\x16ExportFeatures'
    b'Response\x12\x15\n\rrows_expected\x18\x01 \x01(\x04\x12.\n\x05batch\x18\x02 \x01(\x0b2\x1f.featurestore.v1'
    b'.raw.WriteBatch"\x15\n\x13TakeSnapshotRequest"U\n\x14TakeSnapshotResponse\x12\x0c'
    b'\n\x04base\x18\x01 \x01(\x04\x12\x0f\n\x07records\x18\x02 \x01(\x04\x12\r\n\x05bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds\x18\x04 \x01(\x01"?\n'
    b'\rBackupRequest\x12.\n\x05known\x18\x01 \x03(\x0b2\x1f.featurestore.v1.raw.BackupFile"~'
    b'\n\x0eBackupResponse\x12/\n\x05state\x18\x01 \x01(\x0b2 .featurestore.v1.raw.BackupStat'
    b'e\x12\x0c\n\x04data\x18\x02 \x01(\x0c\x12-\n\x04file\x18\x03 \x01(\x0b2\x1f.featurestore.v1.raw.BackupFile"\x8f'
    b'\x01\n\x0bBackupState\x12\x0f\n\x07version\x18\x01 \x01(\t\x12\x12\n\ncreated_us\x18\x02 \x01(\x03\x12\x0f\n\x07journal\x18\x03'
    b' \x01(\x06\x12\x0c\n\x04base\x18\x04 \x01(\x04\x12\x0c\n\x04last\x18\x05 \x01(\x04\x12.\n\x05files\x18\x06 \x03(\x0b2\x1f.featurestore.v'
    b'1.raw.BackupFile";\n\nBackupFile\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\r\n\x05bytes\x18\x02 \x01(\x04\x12\x10\n\x08c'
    b'hecksum\x18\x03 \x01(\x06"N\n\x06Status\x12\x0c\n\x04code\x18\x01 \x01(\x05\x12\x0f\n\x07message\x18\x02 \x01(\t\x12%\n\x07detail'
    b's\x18\x03 \x03(\x0b2\x14.google.protobuf.Any"B\n\x0cErrorDetails\x122\n\nviolations\x18\x01 \x03('
    b'\x0b2\x1e.featurestore.v1.raw.Violation"K\n\tViolation\x12\r\n\x05field\x18\x01 \x01(\t\x12\r\n'
    b'\x05value\x18\x02 \x01(\t\x12\x10\n\x08expected\x18\x03 \x01(\t\x12\x0e\n\x06object\x18\x04 \x01(\t*@\n\x0bValueStatus\x12\x0b\n'
    b'\x07PRESENT\x10\x00\x12\x08\n\x04NULL\x10\x01\x12\r\n\tNOT_FOUND\x10\x02\x12\x0b\n\x07EXPIRED\x10\x03b\x06proto3'
)
_messages = DESCRIPTOR.message_types_by_name
_enums = DESCRIPTOR.enum_types_by_name

ValueStatus = _EnumTypeWrapper(_enums["ValueStatus"])
PRESENT = 0
NULL = 1
NOT_FOUND = 2
EXPIRED = 3
Column = _message_class(_messages["Column"])
FeatureSelection = _message_class(_messages["FeatureSelection"])
GetFeaturesRequest = _message_class(_messages["GetFeaturesRequest"])
GetFeaturesResponse = _message_class(_messages["GetFeaturesResponse"])
AnswerSchema = _message_class(_messages["AnswerSchema"])
ViewKeys = _message_class(_messages["ViewKeys"])
AnswerFeature = _message_class(_messages["AnswerFeature"])
WriteBatch = _message_class(_messages["WriteBatch"])
WriteCounts = _message_class(_messages["WriteCounts"])
WriteFeaturesRequest = _message_class(_messages["WriteFeaturesRequest"])
WriteFeaturesResponse = _message_class(_messages["WriteFeaturesResponse"])
IngestFeaturesRequest = _message_class(_messages["IngestFeaturesRequest"])
IngestFeaturesResponse = _message_class(_messages["IngestFeaturesResponse"])
DeleteFeaturesRequest = _message_class(_messages["DeleteFeaturesRequest"])
DeleteFeaturesResponse = _message_class(_messages["DeleteFeaturesResponse"])
BeginReplaceRequest = _message_class(_messages["BeginReplaceRequest"])
BeginReplaceResponse = _message_class(_messages["BeginReplaceResponse"])
CommitReplaceRequest = _message_class(_messages["CommitReplaceRequest"])
CommitReplaceResponse = _message_class(_messages["CommitReplaceResponse"])
AbortReplaceRequest = _message_class(_messages["AbortReplaceRequest"])
AbortReplaceResponse = _message_class(_messages["AbortReplaceResponse"])
RollbackRequest = _message_class(_messages["RollbackRequest"])
RollbackResponse = _message_class(_messages["RollbackResponse"])
Version = _message_class(_messages["Version"])
Project = _message_class(_messages["Project"])
JoinKey = _message_class(_messages["JoinKey"])
Entity = _message_class(_messages["Entity"])
Field = _message_class(_messages["Field"])
BatchSource = _message_class(_messages["BatchSource"])
FeatureView = _message_class(_messages["FeatureView"])
FeatureReference = _message_class(_messages["FeatureReference"])
FeatureService = _message_class(_messages["FeatureService"])
Definitions = _message_class(_messages["Definitions"])
ApplyRequest = _message_class(_messages["ApplyRequest"])
ApplyResponse = _message_class(_messages["ApplyResponse"])
Change = _message_class(_messages["Change"])
ListProjectsRequest = _message_class(_messages["ListProjectsRequest"])
ListProjectsResponse = _message_class(_messages["ListProjectsResponse"])
ListEntitiesRequest = _message_class(_messages["ListEntitiesRequest"])
ListEntitiesResponse = _message_class(_messages["ListEntitiesResponse"])
ListFeatureViewsRequest = _message_class(_messages["ListFeatureViewsRequest"])
ListFeatureViewsResponse = _message_class(_messages["ListFeatureViewsResponse"])
ListFeatureServicesRequest = _message_class(_messages["ListFeatureServicesRequest"])
ListFeatureServicesResponse = _message_class(_messages["ListFeatureServicesResponse"])
ListTablesRequest = _message_class(_messages["ListTablesRequest"])
ListTablesResponse = _message_class(_messages["ListTablesResponse"])
Table = _message_class(_messages["Table"])
DescribeEntityRequest = _message_class(_messages["DescribeEntityRequest"])
DescribeEntityResponse = _message_class(_messages["DescribeEntityResponse"])
DescribeFeatureViewRequest = _message_class(_messages["DescribeFeatureViewRequest"])
DescribeFeatureViewResponse = _message_class(_messages["DescribeFeatureViewResponse"])
DescribeFeatureServiceRequest = _message_class(_messages["DescribeFeatureServiceRequest"])
DescribeFeatureServiceResponse = _message_class(_messages["DescribeFeatureServiceResponse"])
GetSharedMemoryRequest = _message_class(_messages["GetSharedMemoryRequest"])
GetSharedMemoryResponse = _message_class(_messages["GetSharedMemoryResponse"])
GetStatusRequest = _message_class(_messages["GetStatusRequest"])
GetStatusResponse = _message_class(_messages["GetStatusResponse"])
Recovered = _message_class(_messages["Recovered"])
Process = _message_class(_messages["Process"])
ExportFeaturesRequest = _message_class(_messages["ExportFeaturesRequest"])
ExportFeaturesResponse = _message_class(_messages["ExportFeaturesResponse"])
TakeSnapshotRequest = _message_class(_messages["TakeSnapshotRequest"])
TakeSnapshotResponse = _message_class(_messages["TakeSnapshotResponse"])
BackupRequest = _message_class(_messages["BackupRequest"])
BackupResponse = _message_class(_messages["BackupResponse"])
BackupState = _message_class(_messages["BackupState"])
BackupFile = _message_class(_messages["BackupFile"])
Status = _message_class(_messages["Status"])
ErrorDetails = _message_class(_messages["ErrorDetails"])
Violation = _message_class(_messages["Violation"])
