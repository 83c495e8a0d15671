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
    b'ervices\x18\x04 \x03(\x0b2\x1f.featurestore.v1.FeatureService"\x8d\x01\n\x0cApplyRequest\x12'
    b'1\n\x0bdefinitions\x18\x01 \x01(\x0b2\x1c.featurestore.v1.Definitions\x12\x0f\n\x07dry_run\x18\x02 '
    b'\x01(\x08\x12\r\n\x05prune\x18\x03 \x01(\x08\x12\x19\n\x0cbase_version\x18\x04 \x01(\x04H\x00\x88\x01\x01B\x0f\n\r_base_version"`'
    b'\n\rApplyResponse\x12(\n\x07changes\x18\x01 \x03(\x0b2\x17.featurestore.v1.Change\x12\x0f\n\x07app'
    b'lied\x18\x02 \x01(\x08\x12\x14\n\x0cbase_version\x18\x03 \x01(\x04"\xd0\x01\n\x06Change\x12.\n\x06action\x18\x01 \x01(\x0e2\x1e.fe'
    b'aturestore.v1.Change.Action\x12\x0c\n\x04kind\x18\x02 \x01(\t\x12\x0f\n\x07project\x18\x03 \x01(\t\x12\x0c\n\x04na'
    b'me\x18\x04 \x01(\t\x12\x13\n\x0bdifferences\x18\x05 \x03(\t\x12\x0e\n\x06effect\x18\x06 \x01(\t"D\n\x06Action\x12\x16\n\x12ACTIO'
    b'N_UNSPECIFIED\x10\x00\x12\n\n\x06CREATE\x10\x01\x12\n\n\x06UPDATE\x10\x02\x12\n\n\x06DELETE\x10\x03"\x15\n\x13ListProje'
    b'ctsRequest"B\n\x14ListProjectsResponse\x12*\n\x08projects\x18\x01 \x03(\x0b2\x18.featurest'
    b'ore.v1.Project"&\n\x13ListEntitiesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"A\n\x14ListEn'
    b'titiesResponse\x12)\n\x08entities\x18\x01 \x03(\x0b2\x17.featurestore.v1.Entity"*\n\x17Lis'
    b'tFeatureViewsRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"O\n\x18ListFeatureViewsRespons'
    b'e\x123\n\rfeature_views\x18\x01 \x03(\x0b2\x1c.featurestore.v1.FeatureView"-\n\x1aListFe'
    b'atureServicesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"X\n\x1bListFeatureServicesResp'
    b'onse\x129\n\x10feature_services\x18\x01 \x03(\x0b2\x1f.featurestore.v1.FeatureService"'
    b'$\n\x11ListTablesRequest\x12\x0f\n\x07project\x18\x01 \x01(\t"<\n\x12ListTablesResponse\x12&\n\x06t'
    b'ables\x18\x01 \x03(\x0b2\x16.featurestore.v1.Table"\x97\x01\n\x05Table\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c'
    b'\n\x04view\x18\x02 \x01(\t\x12\x0c\n\x04rows\x18\x03 \x01(\x04\x12\x14\n\x0cdeleted_rows\x18\x04 \x01(\x04\x12\x14\n\x0cmemory_bytes'
    b'\x18\x05 \x01(\x04\x12\x11\n\trow_bytes\x18\x06 \x01(\x04\x12\x0e\n\x06shards\x18\x07 \x01(\x04\x12\x12\n\ngeneration\x18\x08 \x01(\x04"6\n'
    b'\x15DescribeEntityRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"X\n\x16Describ'
    b"eEntityResponse\x12'\n\x06entity\x18\x01 \x01(\x0b2\x17.featurestore.v1.Entity\x12\x15\n\rfeat"
    b'ure_views\x18\x02 \x03(\t";\n\x1aDescribeFeatureViewRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c'
    b'\n\x04name\x18\x02 \x01(\t"\xe5\x01\n\x1bDescribeFeatureViewResponse\x122\n\x0cfeature_view\x18\x01 \x01'
    b'(\x0b2\x1c.featurestore.v1.FeatureView\x12%\n\x05table\x18\x02 \x01(\x0b2\x16.featurestore.v'
    b'1.Table\x12\x18\n\x10feature_services\x18\x03 \x03(\t\x12)\n\x07version\x18\x04 \x01(\x0b2\x18.featurestor'
    b'e.v1.Version\x12&\n\x04kept\x18\x05 \x03(\x0b2\x18.featurestore.v1.Version">\n\x1dDescribe'
    b'FeatureServiceRequest\x12\x0f\n\x07project\x18\x01 \x01(\t\x12\x0c\n\x04name\x18\x02 \x01(\t"\x89\x01\n\x1eDescrib'
    b'eFeatureServiceResponse\x128\n\x0ffeature_service\x18\x01 \x01(\x0b2\x1f.featurestore.'
    b'v1.FeatureService\x12-\n\x06schema\x18\x02 \x01(\x0b2\x1d.featurestore.v1.AnswerSchema'
    b'"\x18\n\x16GetSharedMemoryRequest">\n\x17GetSharedMemoryResponse\x12\x11\n\tdirecto'
    b'ry\x18\x01 \x01(\t\x12\x10\n\x08instance\x18\x02 \x01(\x06"\x12\n\x10GetStatusRequest"\x80\x01\n\x11GetStatusResp'
    b'onse\x12\x0f\n\x07version\x18\x01 \x01(\t\x12+\n\tprocesses\x18\x02 \x03(\x0b2\x18.featurestore.v1.Proce'
    b'ss\x12-\n\trecovered\x18\x03 \x01(\x0b2\x1a.featurestore.v1.Recovered"P\n\tRecovered\x12\x0f'
    b'\n\x07records\x18\x01 \x01(\x04\x12\x0e\n\x06tables\x18\x02 \x01(\x04\x12\x11\n\tcut_bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds\x18\x04 '
    b'\x01(\x01"\xd7\x01\n\x07Process\x12\x0c\n\x04role\x18\x01 \x01(\t\x12\x0e\n\x06number\x18\x02 \x01(\r\x12\r\n\x05state\x18\x03 \x01(\t\x12\x0b\n\x03'
    b'pid\x18\x04 \x01(\x04\x12\x10\n\x08uptime_s\x18\x05 \x01(\x01\x12\x10\n\x08restarts\x18\x06 \x01(\x04\x12\x15\n\x0bconnections\x18\x07 \x01'
    b'(\x04H\x00\x12\x10\n\x08requests\x18\x08 \x01(\x04\x12\x16\n\x0eresident_bytes\x18\t \x01(\x04\x12\x14\n\x0cshared_bytes\x18\n'
    b' \x01(\x04\x12\x0f\n\x07refused\x18\x0b \x01(\x04B\x06\n\x04told"L\n\x15ExportFeaturesRequest\x12\x0f\n\x07projec'
    b't\x18\x01 \x01(\t\x12\x0c\n\x04view\x18\x02 \x01(\t\x12\x14\n\x0cexpired_rows\x18\x03 \x01(\x08"[\n\x16ExportFeaturesRes'
    b'ponse\x12\x15\n\rrows_expected\x18\x01 \x01(\x04\x12*\n\x05batch\x18\x02 \x01(\x0b2\x1b.featurestore.v1.Wr'
    b'iteBatch"\x15\n\x13TakeSnapshotRequest"U\n\x14TakeSnapshotResponse\x12\x0c\n\x04base\x18'
    b'\x01 \x01(\x04\x12\x0f\n\x07records\x18\x02 \x01(\x04\x12\r\n\x05bytes\x18\x03 \x01(\x04\x12\x0f\n\x07seconds\x18\x04 \x01(\x01";\n\rBackup'
    b'Request\x12*\n\x05known\x18\x01 \x03(\x0b2\x1b.featurestore.v1.BackupFile"v\n\x0eBackupRes'
    b'ponse\x12+\n\x05state\x18\x01 \x01(\x0b2\x1c.featurestore.v1.BackupState\x12\x0c\n\x04data\x18\x02 \x01(\x0c'
    b'\x12)\n\x04file\x18\x03 \x01(\x0b2\x1b.featurestore.v1.BackupFile"\x8b\x01\n\x0bBackupState\x12\x0f\n\x07v'
    b'ersion\x18\x01 \x01(\t\x12\x12\n\ncreated_us\x18\x02 \x01(\x03\x12\x0f\n\x07journal\x18\x03 \x01(\x06\x12\x0c\n\x04base\x18\x04 \x01(\x04\x12'
    b'\x0c\n\x04last\x18\x05 \x01(\x04\x12*\n\x05files\x18\x06 \x03(\x0b2\x1b.featurestore.v1.BackupFile";\n\nBac'
    b'kupFile\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\r\n\x05bytes\x18\x02 \x01(\x04\x12\x10\n\x08checksum\x18\x03 \x01(\x06"N\n\x06Status'
    b'\x12\x0c\n\x04code\x18\x01 \x01(\x05\x12\x0f\n\x07message\x18\x02 \x01(\t\x12%\n\x07details\x18\x03 \x03(\x0b2\x14.google.protob'
    b'uf.Any">\n\x0cErrorDetails\x12.\n\nviolations\x18\x01 \x03(\x0b2\x1a.featurestore.v1.Vio'
    b'lation"K\n\tViolation\x12\r\n\x05field\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t\x12\x10\n\x08expected\x18\x03 '
    b'\x01(\t\x12\x0e\n\x06object\x18\x04 \x01(\t*@\n\x0bValueStatus\x12\x0b\n\x07PRESENT\x10\x00\x12\x08\n\x04NULL\x10\x01\x12\r\n\tNOT'
    b'_FOUND\x10\x02\x12\x0b\n\x07EXPIRED\x10\x032\xca\x10\n\x0cFeatureStore\x12X\n\x0bGetFeatures\x12#.features'
    b'tore.v1.GetFeaturesRequest\x1a$.featurestore.v1.GetFeaturesResponse'
    b'\x12^\n\rWriteFeatures\x12%.featurestore.v1.WriteFeaturesRequest\x1a&.featu'
    b'restore.v1.WriteFeaturesResponse\x12e\n\x0eIngestFeatures\x12&.featurestor'
    b"e.v1.IngestFeaturesRequest\x1a'.featurestore.v1.IngestFeaturesRespo"
    b'nse(\x010\x01\x12a\n\x0eDeleteFeatures\x12&.featurestore.v1.DeleteFeaturesReques'
    b"t\x1a'.featurestore.v1.DeleteFeaturesResponse\x12[\n\x0cBeginReplace\x12$.fea"
    b'turestore.v1.BeginReplaceRequest\x1a%.featurestore.v1.BeginReplaceR'
    b'esponse\x12^\n\rCommitReplace\x12%.featurestore.v1.CommitReplaceRequest\x1a'
    b'&.featurestore.v1.CommitReplaceResponse\x12[\n\x0cAbortReplace\x12$.featur'
    b'estore.v1.AbortReplaceRequest\x1a%.featurestore.v1.AbortReplaceResp'
    b'onse\x12O\n\x08Rollback\x12 .featurestore.v1.RollbackRequest\x1a!.featurestor'
    b'e.v1.RollbackResponse\x12F\n\x05Apply\x12\x1d.featurestore.v1.ApplyRequest\x1a\x1e.'
    b'featurestore.v1.ApplyResponse\x12[\n\x0cListProjects\x12$.featurestore.v1.'
    b'ListProjectsRequest\x1a%.featurestore.v1.ListProjectsResponse\x12[\n\x0cLi'
    b'stEntities\x12$.featurestore.v1.ListEntitiesRequest\x1a%.featurestore.'
    b'v1.ListEntitiesResponse\x12g\n\x10ListFeatureViews\x12(.featurestore.v1.Li'
    b'stFeatureViewsRequest\x1a).featurestore.v1.ListFeatureViewsResponse'
    b'\x12p\n\x13ListFeatureServices\x12+.featurestore.v1.ListFeatureServicesReq'
    b'uest\x1a,.featurestore.v1.ListFeatureServicesResponse\x12U\n\nListTables'
    b'\x12".featurestore.v1.ListTablesRequest\x1a#.featurestore.v1.ListTable'
    b'sResponse\x12a\n\x0eDescribeEntity\x12&.featurestore.v1.DescribeEntityRequ'
    b"est\x1a'.featurestore.v1.DescribeEntityResponse\x12p\n\x13DescribeFeatureV"
    b'iew\x12+.featurestore.v1.DescribeFeatureViewRequest\x1a,.featurestore.'
    b'v1.DescribeFeatureViewResponse\x12y\n\x16DescribeFeatureService\x12..featu'
    b'restore.v1.DescribeFeatureServiceRequest\x1a/.featurestore.v1.Descr'
    b"ibeFeatureServiceResponse\x12d\n\x0fGetSharedMemory\x12'.featurestore.v1.G"
    b'etSharedMemoryRequest\x1a(.featurestore.v1.GetSharedMemoryResponse\x12'
    b'R\n\tGetStatus\x12!.featurestore.v1.GetStatusRequest\x1a".featurestore.v'
    b'1.GetStatusResponse\x12c\n\x0eExportFeatures\x12&.featurestore.v1.ExportFe'
    b"aturesRequest\x1a'.featurestore.v1.ExportFeaturesResponse0\x01\x12[\n\x0cTake"
    b'Snapshot\x12$.featurestore.v1.TakeSnapshotRequest\x1a%.featurestore.v1'
    b'.TakeSnapshotResponse\x12K\n\x06Backup\x12\x1e.featurestore.v1.BackupRequest\x1a'
    b'\x1f.featurestore.v1.BackupResponse0\x01b\x06proto3'
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
