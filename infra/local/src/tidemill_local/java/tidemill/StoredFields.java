package tidemill;

import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import io.netty.buffer.Unpooled;
import java.lang.reflect.Field;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.function.Function;

/**
 * The fields of a stored document: BSON until one of them is asked for. As objects they take several times its size, and
 * H2 reads a page with all its documents for the one that is asked for.
 *
 * <p>A document of the library is final, and keeps its fields in a map that it makes. This one takes the place of that;
 * each method that reads or changes it decodes first. Threads may ask at the same time.
 */
final class StoredFields extends LinkedHashMap<String, Object> {
    private static final long serialVersionUID = 1L;
    private static final int OBJECT_BYTES = 160; // beside the BSON
    private static final Field FIELDS = fields();

    private final int bytes;
    private transient volatile byte[] bson; // null once decoded

    private StoredFields(byte[] bson) {
        this.bson = bson;
        this.bytes = bson.length;
    }

    private static Field fields() {
        try {
            Field fields = Document.class.getDeclaredField("documentAsMap");
            fields.setAccessible(true);
            return fields;
        } catch (ReflectiveOperationException error) {
            throw new ExceptionInInitializerError(error);
        }
    }

    /** Returns a document that is decoded when something of it is asked for. */
    static Document document(byte[] bson) {
        Document document = new Document();
        try {
            FIELDS.set(document, new StoredFields(bson));
        } catch (IllegalAccessException error) {
            throw new IllegalStateException(error);
        }
        return document;
    }

    /** Returns the fields of such a document; null of another value. */
    static StoredFields of(Object value) {
        if (!(value instanceof Document)) {
            return null;
        }
        try {
            Object fields = FIELDS.get(value);
            return fields instanceof StoredFields ? (StoredFields) fields : null;
        } catch (IllegalAccessException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Returns a document to read: of one that is not decoded a copy, so that the stored one stays small. */
    static Document read(Document stored) {
        StoredFields fields = of(stored);
        byte[] bson = fields == null ? null : fields.bson;
        return bson == null ? stored : BsonDecoder.decodeBson(Unpooled.wrappedBuffer(bson));
    }

    /** Returns the BSON of a document that nothing was asked of; null of others, which may have changed. */
    byte[] bson() {
        return bson;
    }

    /** Returns what H2 is to count: the same as long as the document is stored. */
    int memory() {
        return OBJECT_BYTES + bytes;
    }

    private void decode() {
        if (bson == null) {
            return;
        }
        synchronized (this) {
            byte[] encoded = bson;
            if (encoded != null) {
                super.putAll(BsonDecoder.decodeBson(Unpooled.wrappedBuffer(encoded)));
                bson = null;
            }
        }
    }

    @Override
    public int size() {
        decode();
        return super.size();
    }

    @Override
    public boolean isEmpty() {
        decode();
        return super.isEmpty();
    }

    @Override
    public Object get(Object key) {
        decode();
        return super.get(key);
    }

    @Override
    public boolean containsKey(Object key) {
        decode();
        return super.containsKey(key);
    }

    @Override
    public boolean containsValue(Object value) {
        decode();
        return super.containsValue(value);
    }

    @Override
    public Object put(String key, Object value) {
        decode();
        return super.put(key, value);
    }

    @Override
    public void putAll(Map<? extends String, ?> other) {
        decode();
        super.putAll(other);
    }

    @Override
    public Object remove(Object key) {
        decode();
        return super.remove(key);
    }

    @Override
    public void clear() {
        decode();
        super.clear();
    }

    @Override
    public Set<String> keySet() {
        decode();
        return super.keySet();
    }

    @Override
    public Collection<Object> values() {
        decode();
        return super.values();
    }

    @Override
    public Set<Map.Entry<String, Object>> entrySet() {
        decode();
        return super.entrySet();
    }

    @Override
    public Object getOrDefault(Object key, Object other) {
        decode();
        return super.getOrDefault(key, other);
    }

    @Override
    public Object putIfAbsent(String key, Object value) {
        decode();
        return super.putIfAbsent(key, value);
    }

    @Override
    public Object computeIfAbsent(String key, Function<? super String, ?> made) {
        decode();
        return super.computeIfAbsent(key, made);
    }

    @Override
    public Object computeIfPresent(String key, BiFunction<? super String, ? super Object, ?> made) {
        decode();
        return super.computeIfPresent(key, made);
    }

    @Override
    public Object compute(String key, BiFunction<? super String, ? super Object, ?> made) {
        decode();
        return super.compute(key, made);
    }

    @Override
    public Object merge(String key, Object value, BiFunction<? super Object, ? super Object, ?> made) {
        decode();
        return super.merge(key, value, made);
    }

    @Override
    public boolean remove(Object key, Object value) {
        decode();
        return super.remove(key, value);
    }

    @Override
    public Object replace(String key, Object value) {
        decode();
        return super.replace(key, value);
    }

    @Override
    public boolean replace(String key, Object before, Object value) {
        decode();
        return super.replace(key, before, value);
    }

    @Override
    public void replaceAll(BiFunction<? super String, ? super Object, ?> made) {
        decode();
        super.replaceAll(made);
    }

    @Override
    public void forEach(BiConsumer<? super String, ? super Object> asked) {
        decode();
        super.forEach(asked);
    }

    @Override
    public Object clone() {
        return new LinkedHashMap<>(this);
    }

    private Object writeReplace() {
        return new LinkedHashMap<>(this);
    }
}
