# Generated from featurestore/v1/featurestore.proto by proto/generate.py (make proto). Do not edit.

from google.protobuf import any_pb2 as _any_pb2  # noqa: F401  the descriptor refers to it
from google.protobuf.descriptor_pool import Default as _default_pool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper as _EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass as _message_class

DESCRIPTOR = _default_pool().AddSerializedFile(
    b'\n"featurestore/v1/featurestore.proto\x12\x0ffeaturestore.v1\x1a\x19google/pr'
    b'otobuf/any.proto"\x9a\x01\n\x06Column\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\r\n\x05bools\x18\x02 \x03(\x08\x12\x0e\n\x06int3'
    b'2s\x18\x03 \x03(\x0f\x12\x0e\n\x06int64s\x18\x04 \x03(\x10\x12\x10\n\x08float32s\x18\x05 \x03(\x02\x12\x10\n\x08float64s\x18\x06 \x03(\x01\x12\x0c\n\x04'
    b'data\x18\x07 \x01(\x0c\x12\x0f\n\x07offsets\x18\x08 \x03(\x0f\x12\x10\n\x08validity\x18\t \x01(\x0c"x\n\x10FeatureSelectio'
    b'n\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0f\n\x07service\x18\x02 \x01(\t\x12\x10\n\x08features\x18\x03 \x03(\t\x12\x18\n\x10event_t'
    b'imestamps\x18\x04 \x01(\x08\x12\x16\n\x0eexpired_values\x18\x05 \x01(\x08"\x8a\x01\n\x12GetFeaturesRequest\x124'
    b'\n\tselection\x18\x01 \x01(\x0b2!.featurestore.v1.FeatureSelection\x12%\n\x04keys\x18\x02 \x03'
    b'(\x0b2\x17.featurestore.v1.Column\x12\x17\n\x0fknown_schema_id\x18\x03 \x01(\x06"\xfa\x01\n\x13GetFeat'
    b'uresResponse\x12\x0c\n\x04rows\x18\x01 \x01(\r\x12\x11\n\tschema_id\x18\x02 \x01(\x06\x12-\n\x06schema\x18\x03 \x01(\x0b2\x1d.'
    b"featurestore.v1.AnswerSchema\x12'\n\x06matrix\x18\x04 \x01(\x0b2\x17.featurestore.v1.C"
    b'olumn\x12(\n\x07columns\x18\x05 \x03(\x0b2\x17.featurestore.v1.Column\x12\x14\n\x0crow_statuses\x18'
    b'\x06 \x01(\x0c\x12\r\n\x05nulls\x18\x07 \x01(\x0c\x12\x1b\n\x13event_timestamps_us\x18\x08 \x03(\x10"\xaa\x01\n\x0cAnswerSche'
    b'ma\x120\n\x08features\x18\x01 \x03(\x0b2\x1e.featurestore.v1.AnswerFeature\x12\r\n\x05views\x18\x02 '
    b'\x03(\t\x12+\n\tjoin_keys\x18\x03 \x03(\x0b2\x18.featurestore.v1.JoinKey\x12,\n\tview_keys\x18\x04 '
    b'\x03(\x0b2\x19.featurestore.v1.ViewKeys"\x1d\n\x08ViewKeys\x12\x11\n\tjoin_keys\x18\x01 \x03(\r"P\n'
    b'\rAnswerFeature\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04type\x18\x02 \x01(\t\x12\x12\n\nview_index\x18\x03 \x01(\r\x12\x0f'
    b'\n\x07feature\x18\x04 \x01(\t"{\n\nWriteBatch\x12%\n\x04keys\x18\x01 \x03(\x0b2\x17.featurestore.v1.Co'
    b'lumn\x12)\n\x08features\x18\x02 \x03(\x0b2\x17.featurestore.v1.Column\x12\x1b\n\x13event_timesta'
    b'mps_us\x18\x03 \x03(\x10"\\\n\x0bWriteCounts\x12\x0c\n\x04rows\x18\x01 \x01(\x04\x12\x10\n\x08inserted\x18\x02 \x01(\x04\x12\x0f\n\x07u'
    b'pdated\x18\x03 \x01(\x04\x12\r\n\x05equal\x18\x04 \x01(\x04\x12\r\n\x05older\x18\x05 \x01(\x04"a\n\x14WriteFeaturesReque'
    b'st\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12*\n\x05batch\x18\x03 \x01(\x0b2\x1b.featurestore.'
    b'v1.WriteBatch"E\n\x15WriteFeaturesResponse\x12,\n\x06counts\x18\x01 \x01(\x0b2\x1c.feature'
    b'store.v1.WriteCounts"\x82\x01\n\x15IngestFeaturesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12'
    b'\x0c\n\x04view\x18\x02 \x01(\t\x12\x10\n\x08sequence\x18\x03 \x01(\x04\x12*\n\x05batch\x18\x04 \x01(\x0b2\x1b.featurestore.v1'
    b'.WriteBatch\x12\x0c\n\x04load\x18\x05 \x01(\t"X\n\x16IngestFeaturesResponse\x12\x10\n\x08sequence\x18'
    b'\x01 \x01(\x04\x12,\n\x06counts\x18\x02 \x01(\x0b2\x1c.featurestore.v1.WriteCounts"z\n\x15DeleteFea'
    b'turesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12%\n\x04keys\x18\x03 \x03(\x0b2\x17.feat'
    b'urestore.v1.Column\x12\x1b\n\x13event_timestamps_us\x18\x04 \x03(\x10"H\n\x16DeleteFeature'
    b'sResponse\x12\x0f\n\x07deleted\x18\x01 \x01(\x04\x12\x0e\n\x06absent\x18\x02 \x01(\x04\x12\r\n\x05older\x18\x03 \x01(\x04"R\n\x13Beg'
    b'inReplaceRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x0e\n\x06source\x18\x03 \x01(\t\x12'
    b'\x0c\n\x04rows\x18\x04 \x01(\x04"4\n\x14BeginReplaceResponse\x12\x0c\n\x04load\x18\x01 \x01(\t\x12\x0e\n\x06idle_s\x18\x02 '
    b'\x01(\x01"\x80\x02\n\x14CommitReplaceRequest\x12\x0c\n\x04load\x18\x01 \x01(\t\x12\x10\n\x08rows_min\x18\x02 \x01(\x04\x12\x12\n\x08'
    b'rows_max\x18\x03 \x01(\x04H\x00\x12W\n\x12max_null_fractions\x18\x04 \x03(\x0b2;.featurestore.v1.C'
    b'ommitReplaceRequest.MaxNullFractionsEntry\x12\x12\n\x08max_drop\x18\x05 \x01(\x01H\x01\x1a7\n'
    b'\x15MaxNullFractionsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\x01:\x028\x01B\x06\n\x04mostB\x06'
    b'\n\x04drop"\x84\x01\n\x15CommitReplaceResponse\x12)\n\x07version\x18\x01 \x01(\x0b2\x18.featurestore'
    b'.v1.Version\x12(\n\x06former\x18\x02 \x01(\x0b2\x18.featurestore.v1.Version\x12\x16\n\x0eformer_'
    b'is_kept\x18\x03 \x01(\x08"#\n\x13AbortReplaceRequest\x12\x0c\n\x04load\x18\x01 \x01(\t"\x16\n\x14AbortRepla'
    b'ceResponse"A\n\x0fRollbackRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x0f\n\x07'
    b'version\x18\x03 \x01(\x04"\x7f\n\x10RollbackResponse\x12)\n\x07version\x18\x01 \x01(\x0b2\x18.featurestor'
    b'e.v1.Version\x12(\n\x06former\x18\x02 \x01(\x0b2\x18.featurestore.v1.Version\x12\x16\n\x0eformer'
    b'_is_kept\x18\x03 \x01(\x08"H\n\x07Version\x12\x0e\n\x06number\x18\x01 \x01(\x04\x12\x0f\n\x07time_us\x18\x02 \x01(\x03\x12\x0c\n\x04ro'
    b'ws\x18\x03 \x01(\x04\x12\x0e\n\x06source\x18\x04 \x01(\t"\x9a\x01\n\x07Project\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x13\n\x0bdescriptio'
    b'n\x18\x02 \x01(\t\x12\r\n\x05owner\x18\x03 \x01(\t\x120\n\x04tags\x18\x04 \x03(\x0b2".featurestore.v1.Project.T'
    b'agsEntry\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"%\n\x07JoinKey'
    b'\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04type\x18\x02 \x01(\t"\xd6\x01\n\x06Entity\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name'
    b'\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04 \x01(\t\x12/\n\x04tags\x18\x05 \x03(\x0b2!.featu'
    b'restore.v1.Entity.TagsEntry\x12+\n\tjoin_keys\x18\x06 \x03(\x0b2\x18.featurestore.v1'
    b'.JoinKey\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\x95\x01\n\x05Field\x12'
    b'\x0c\n\x04name\x18\x01 \x01(\t\x12\x0c\n\x04type\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12.\n\x04tags\x18\x04 \x03(\x0b2 '
    b'.featurestore.v1.Field.TagsEntry\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05va'
    b'lue\x18\x02 \x01(\t:\x028\x01"\xa1\x01\n\x0bBatchSource\x12\x0c\n\x04path\x18\x01 \x01(\t\x12\x18\n\x10timestamp_column\x18'
    b'\x02 \x01(\t\x12:\n\x07columns\x18\x03 \x03(\x0b2).featurestore.v1.BatchSource.ColumnsEntr'
    b'y\x1a.\n\x0cColumnsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xbb\x02\n\x0bFeatureVie'
    b'w\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04'
    b' \x01(\t\x124\n\x04tags\x18\x05 \x03(\x0b2&.featurestore.v1.FeatureView.TagsEntry\x12\x0e\n\x06en'
    b'tity\x18\x06 \x01(\t\x12(\n\x08features\x18\x07 \x03(\x0b2\x16.featurestore.v1.Field\x12\x0b\n\x03ttl\x18\x08 \x01('
    b'\t\x12\x11\n\tretention\x18\t \x01(\t\x12,\n\x06source\x18\n \x01(\x0b2\x1c.featurestore.v1.BatchSour'
    b'ce\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xb4\x01\n\x10FeatureRefer'
    b'ence\x12\x0c\n\x04view\x18\x01 \x01(\t\x12\x0f\n\x07feature\x18\x02 \x01(\t\x12\x0c\n\x04name\x18\x03 \x01(\t\x12B\n\tjoin_keys\x18\x04'
    b' \x03(\x0b2/.featurestore.v1.FeatureReference.JoinKeysEntry\x1a/\n\rJoinKey'
    b'sEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xee\x01\n\x0eFeatureService\x12\x0f\n\x07pro'
    b'ject\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t\x12\x13\n\x0bdescription\x18\x03 \x01(\t\x12\r\n\x05owner\x18\x04 \x01(\t\x127\n\x04'
    b'tags\x18\x05 \x03(\x0b2).featurestore.v1.FeatureService.TagsEntry\x123\n\x08feature'
    b's\x18\x06 \x03(\x0b2!.featurestore.v1.FeatureReference\x1a+\n\tTagsEntry\x12\x0b\n\x03key\x18\x01'
    b' \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xd4\x01\n\x0bDefinitions\x12*\n\x08projects\x18\x01 \x03(\x0b2\x18.feat'
    b'urestore.v1.Project\x12)\n\x08entities\x18\x02 \x03(\x0b2\x17.featurestore.v1.Entity\x123'
    b'\n\rfeature_views\x18\x03 \x03(\x0b2\x1c.featurestore.v1.FeatureView\x129\n\x10feature_s'
    b'ervices\x18\x04 \x03(\x0b2\x1f.featurestore.v1.FeatureService"\x81\x01\n\x0cApplyRequest\x12'
    b'1\n\x0bdefinitions\x18\x01 \x01(\x0b2\x1c.featurestore.v1.Definitions\x12\x0f\n\x07dry_run\x18\x02 '
    b'\x01(\x08\x12\r\n\x05prune\x18\x03 \x01(\x08\x12\x16\n\x0cbase_version\x18\x04 \x01(\x04H\x00B\x06\n\x04base"`\n\rApplyRespo'
    b'nse\x12(\n\x07changes\x18\x01 \x03(\x0b2\x17.featurestore.v1.Change\x12\x0f\n\x07applied\x18\x02 \x01(\x08\x12\x14'
    b'\n\x0cbase_version\x18\x03 \x01(\x04"\xd0\x01\n\x06Change\x12.\n\x06action\x18\x01 \x01(\x0e2\x1e.featurestore.v'
    b'1.Change.Action\x12\x0c\n\x04kind\x18\x02 \x01(\t\x12\x0f\n\x07project\x18\x03 \x01(\t\x12\x0c\n\x04name\x18\x04 \x01(\t\x12\x13\n\x0b'
    b'differences\x18\x05 \x03(\t\x12\x0e\n\x06effect\x18\x06 \x01(\t"D\n\x06Action\x12\x16\n\x12ACTION_UNSPECIFIE'
    b'D\x10\x00\x12\n\n\x06CREATE\x10\x01\x12\n\n\x06UPDATE\x10\x02\x12\n\n\x06DELETE\x10\x03"\x15\n\x13ListProjectsRequest"B'
    b'\n\x14ListProjectsResponse\x12*\n\x08projects\x18\x01 \x03(\x0b2\x18.featurestore.v1.Proje'
    b'ct"&\n\x13ListEntitiesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"A\n\x14ListEntitiesRespon'
    b'se\x12)\n\x08entities\x18\x01 \x03(\x0b2\x17.featurestore.v1.Entity"*\n\x17ListFeatureView'
    b'sRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"O\n\x18ListFeatureViewsResponse\x123\n\rfeature'
    b'_views\x18\x01 \x03(\x0b2\x1c.featurestore.v1.FeatureView"-\n\x1aListFeatureService'
    b'sRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"X\n\x1bListFeatureServicesResponse\x129\n\x10feat'
    b'ure_services\x18\x01 \x03(\x0b2\x1f.featurestore.v1.FeatureService"$\n\x11ListTable'
    b'sRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"<\n\x12ListTablesResponse\x12&\n\x06tables\x18\x01 \x03(\x0b2'
    b'\x16.featurestore.v1.Table"\x97\x01\n\x05Table\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t'
    b'\x12\x0c\n\x04rows\x18\x03 \x01(\x04\x12\x14\n\x0cdeleted_rows\x18\x04 \x01(\x04\x12\x14\n\x0cmemory_bytes\x18\x05 \x01(\x04\x12\x11\n\tro'
    b'w_bytes\x18\x06 \x01(\x04\x12\x0e\n\x06shards\x18\x07 \x01(\x04\x12\x12\n\ngeneration\x18\x08 \x01(\x04"6\n\x15DescribeEnt'
    b'ityRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"X\n\x16DescribeEntityRespo'
    b"nse\x12'\n\x06entity\x18\x01 \x01(\x0b2\x17.featurestore.v1.Entity\x12\x15\n\rfeature_views\x18\x02 "
    b'\x03(\t";\n\x1aDescribeFeatureViewRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t'
    b'"\xe5\x01\n\x1bDescribeFeatureViewResponse\x122\n\x0cfeature_view\x18\x01 \x01(\x0b2\x1c.feature'
    b'store.v1.FeatureView\x12%\n\x05table\x18\x02 \x01(\x0b2\x16.featurestore.v1.Table\x12\x18\n\x10f'
    b'eature_services\x18\x03 \x03(\t\x12)\n\x07version\x18\x04 \x01(\x0b2\x18.featurestore.v1.Version'
    b'\x12&\n\x04kept\x18\x05 \x03(\x0b2\x18.featurestore.v1.Version">\n\x1dDescribeFeatureServi'
    b'ceRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"\x89\x01\n\x1eDescribeFeatureServ'
    b'iceResponse\x128\n\x0ffeature_service\x18\x01 \x01(\x0b2\x1f.featurestore.v1.FeatureSe'
    b'rvice\x12-\n\x06schema\x18\x02 \x01(\x0b2\x1d.featurestore.v1.AnswerSchema"\x18\n\x16GetShare'
    b'dMemoryRequest">\n\x17GetSharedMemoryResponse\x12\x11\n\tdirectory\x18\x01 \x01(\t\x12\x10\n\x08'
    b'instance\x18\x02 \x01(\x06"\x12\n\x10GetStatusRequest"\x80\x01\n\x11GetStatusResponse\x12\x0f\n\x07vers'
    b'ion\x18\x01 \x01(\t\x12+\n\tprocesses\x18\x02 \x03(\x0b2\x18.featurestore.v1.Process\x12-\n\trecove'
    b'red\x18\x03 \x01(\x0b2\x1a.featurestore.v1.Recovered"P\n\tRecovered\x12\x0f\n\x07records\x18\x01 '
    b'\x01(\x04\x12\x0e\n\x06tables\x18\x02 \x01(\x04\x12\x11\n\tcut_bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds\x18\x04 \x01(\x01"\xd7\x01\n\x07Proc'
    b'ess\x12\x0c\n\x04role\x18\x01 \x01(\t\x12\x0e\n\x06number\x18\x02 \x01(\r\x12\r\n\x05state\x18\x03 \x01(\t\x12\x0b\n\x03pid\x18\x04 \x01(\x04\x12\x10\n'
    b'\x08uptime_s\x18\x05 \x01(\x01\x12\x10\n\x08restarts\x18\x06 \x01(\x04\x12\x15\n\x0bconnections\x18\x07 \x01(\x04H\x00\x12\x10\n\x08requ'
    b'ests\x18\x08 \x01(\x04\x12\x16\n\x0eresident_bytes\x18\t \x01(\x04\x12\x14\n\x0cshared_bytes\x18\n \x01(\x04\x12\x0f\n\x07refu'
    b'sed\x18\x0b \x01(\x04B\x06\n\x04told"L\n\x15ExportFeaturesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04v'
    b'iew\x18\x02 \x01(\t\x12\x14\n\x0cexpired_rows\x18\x03 \x01(\x08"[\n\x16ExportFeaturesResponse\x12\x15\n\rrow'
    b's_expected\x18\x01 \x01(\x04\x12*\n\x05batch\x18\x02 \x01(\x0b2\x1b.featurestore.v1.WriteBatch"\x15\n\x13'
    b'TakeSnapshotRequest"U\n\x14TakeSnapshotResponse\x12\x0c\n\x04base\x18\x01 \x01(\x04\x12\x0f\n\x07rec'
    b'ords\x18\x02 \x01(\x04\x12\r\n\x05bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds\x18\x04 \x01(\x01";\n\rBackupRequest\x12*\n\x05k'
    b'nown\x18\x01 \x03(\x0b2\x1b.featurestore.v1.BackupFile"v\n\x0eBackupResponse\x12+\n\x05sta'
    b'te\x18\x01 \x01(\x0b2\x1c.featurestore.v1.BackupState\x12\x0c\n\x04data\x18\x02 \x01(\x0c\x12)\n\x04file\x18\x03 \x01'
    b'(\x0b2\x1b.featurestore.v1.BackupFile"\x8b\x01\n\x0bBackupState\x12\x0f\n\x07version\x18\x01 \x01(\t'
    b'\x12\x12\n\ncreated_us\x18\x02 \x01(\x03\x12\x0f\n\x07journal\x18\x03 \x01(\x06\x12\x0c\n\x04base\x18\x04 \x01(\x04\x12\x0c\n\x04last\x18\x05 \x01('
    b'\x04\x12*\n\x05files\x18\x06 \x03(\x0b2\x1b.featurestore.v1.BackupFile";\n\nBackupFile\x12\x0c\n\x04n'
    b'ame\x18\x01 \x01(\t\x12\r\n\x05bytes\x18\x02 \x01(\x04\x12\x10\n\x08checksum\x18\x03 \x01(\x06"N\n\x06Status\x12\x0c\n\x04code\x18\x01 \x01'
    b'(\x05\x12\x0f\n\x07message\x18\x02 \x01(\t\x12%\n\x07details\x18\x03 \x03(\x0b2\x14.google.protobuf.Any">\n\x0cEr'
    b'rorDetails\x12.\n\nviolations\x18\x01 \x03(\x0b2\x1a.featurestore.v1.Violation"K\n\tVi'
    b'olation\x12\r\n\x05field\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t\x12\x10\n\x08expected\x18\x03 \x01(\t\x12\x0e\n\x06objec'
    b't\x18\x04 \x01(\t*@\n\x0bValueStatus\x12\x0b\n\x07PRESENT\x10\x00\x12\x08\n\x04NULL\x10\x01\x12\r\n\tNOT_FOUND\x10\x02\x12\x0b\n\x07'
    b'EXPIRED\x10\x032\xca\x10\n\x0cFeatureStore\x12X\n\x0bGetFeatures\x12#.featurestore.v1.GetF'
    b'eaturesRequest\x1a$.featurestore.v1.GetFeaturesResponse\x12^\n\rWriteFea'
    b'tures\x12%.featurestore.v1.WriteFeaturesRequest\x1a&.featurestore.v1.W'
    b'riteFeaturesResponse\x12e\n\x0eIngestFeatures\x12&.featurestore.v1.IngestF'
    b"eaturesRequest\x1a'.featurestore.v1.IngestFeaturesResponse(\x010\x01\x12a\n\x0eD"
    b"eleteFeatures\x12&.featurestore.v1.DeleteFeaturesRequest\x1a'.features"
    b'tore.v1.DeleteFeaturesResponse\x12[\n\x0cBeginReplace\x12$.featurestore.v1'
    b'.BeginReplaceRequest\x1a%.featurestore.v1.BeginReplaceResponse\x12^\n\rC'
    b'ommitReplace\x12%.featurestore.v1.CommitReplaceRequest\x1a&.featuresto'
    b're.v1.CommitReplaceResponse\x12[\n\x0cAbortReplace\x12$.featurestore.v1.Ab'
    b'ortReplaceRequest\x1a%.featurestore.v1.AbortReplaceResponse\x12O\n\x08Roll'
    b'back\x12 .featurestore.v1.RollbackRequest\x1a!.featurestore.v1.Rollbac'
    b'kResponse\x12F\n\x05Apply\x12\x1d.featurestore.v1.ApplyRequest\x1a\x1e.featurestore'
    b'.v1.ApplyResponse\x12[\n\x0cListProjects\x12$.featurestore.v1.ListProjects'
    b'Request\x1a%.featurestore.v1.ListProjectsResponse\x12[\n\x0cListEntities\x12$'
    b'.featurestore.v1.ListEntitiesRequest\x1a%.featurestore.v1.ListEntit'
    b'iesResponse\x12g\n\x10ListFeatureViews\x12(.featurestore.v1.ListFeatureVie'
    b'wsRequest\x1a).featurestore.v1.ListFeatureViewsResponse\x12p\n\x13ListFeat'
    b'ureServices\x12+.featurestore.v1.ListFeatureServicesRequest\x1a,.featu'
    b'restore.v1.ListFeatureServicesResponse\x12U\n\nListTables\x12".featurest'
    b'ore.v1.ListTablesRequest\x1a#.featurestore.v1.ListTablesResponse\x12a\n'
    b"\x0eDescribeEntity\x12&.featurestore.v1.DescribeEntityRequest\x1a'.featur"
    b'estore.v1.DescribeEntityResponse\x12p\n\x13DescribeFeatureView\x12+.featur'
    b'estore.v1.DescribeFeatureViewRequest\x1a,.featurestore.v1.DescribeF'
    b'eatureViewResponse\x12y\n\x16DescribeFeatureService\x12..featurestore.v1.D'
    b'escribeFeatureServiceRequest\x1a/.featurestore.v1.DescribeFeatureSe'
    b"rviceResponse\x12d\n\x0fGetSharedMemory\x12'.featurestore.v1.GetSharedMemo"
    b'ryRequest\x1a(.featurestore.v1.GetSharedMemoryResponse\x12R\n\tGetStatus'
    b'\x12!.featurestore.v1.GetStatusRequest\x1a".featurestore.v1.GetStatusR'
    b'esponse\x12c\n\x0eExportFeatures\x12&.featurestore.v1.ExportFeaturesReques'
    b"t\x1a'.featurestore.v1.ExportFeaturesResponse0\x01\x12[\n\x0cTakeSnapshot\x12$.f"
    b'eaturestore.v1.TakeSnapshotRequest\x1a%.featurestore.v1.TakeSnapsho'
    b'tResponse\x12K\n\x06Backup\x12\x1e.featurestore.v1.BackupRequest\x1a\x1f.featuresto'
    b're.v1.BackupResponse0\x01b\x06proto3'
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
