package tidemill;

import de.bwaldvogel.mongo.bson.Document;
import java.util.Map;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.type.DataType;

/** The documents of a collection. What is put stays as BSON, as what is read does, and not as the objects that came. */
public final class DocumentMap extends MVMap<Object, Object> {
    private DocumentMap(Map<String, Object> config, DataType<Object> keys, DataType<Object> documents) {
        super(config, keys, documents);
    }

    @Override
    public Object put(Object key, Object value) {
        byte[] bson = value instanceof Document ? DocumentType.encoded((Document) value) : null;
        return super.put(key, bson == null ? value : StoredFields.document(bson));
    }

    /** Opens such a map. */
    public static final class Builder extends MVMap.BasicBuilder<DocumentMap, Object, Object> {
        public Builder() {
            setValueType(new DocumentType());
        }

        @Override
        protected DocumentMap create(Map<String, Object> config) {
            return new DocumentMap(config, getKeyType(), getValueType());
        }
    }
}
