package tidemill;

import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.h2.mvstore.DataUtils;
import org.h2.mvstore.WriteBuffer;
import org.h2.mvstore.type.BasicDataType;
import org.h2.mvstore.type.ObjectDataType;

/**
 * Documents, stored as BSON: with each write H2 stores a whole page of them again, by itself with Java's serialization.
 * What earlier versions stored is read as well.
 */
public final class DocumentType extends BasicDataType<Object> {
    private static final byte BSON = 120; // no tag of H2's
    private static final int BYTES = 2048; // for which there is space before it grows

    private final ObjectDataType any = new ObjectDataType();

    @Override
    public int getMemory(Object value) {
        StoredFields fields = StoredFields.of(value);
        if (fields != null) {
            return fields.memory();
        }
        return value instanceof Document ? BYTES : any.getMemory(value);
    }

    @Override
    public void write(WriteBuffer buffer, Object value) {
        byte[] bson = value instanceof Document ? encoded((Document) value) : null;
        if (bson == null) {
            any.write(buffer, value);
        } else {
            buffer.put(BSON).putVarInt(bson.length).put(bson);
        }
    }

    /** Returns the BSON of a document; null of one that has a value which BSON does not have. */
    static byte[] encoded(Document document) {
        StoredFields fields = StoredFields.of(document);
        byte[] stored = fields == null ? null : fields.bson();
        if (stored != null) {
            return stored;
        }
        ByteBuf bytes = Unpooled.buffer(BYTES);
        try {
            BsonEncoder.encodeDocument(document, bytes);
        } catch (RuntimeException error) {
            return null;
        }
        int begin = bytes.arrayOffset();
        return Arrays.copyOfRange(bytes.array(), begin, begin + bytes.readableBytes());
    }

    @Override
    public Object read(ByteBuffer buffer) {
        int begin = buffer.position();
        if (buffer.get() != BSON) {
            buffer.position(begin);
            return any.read(buffer);
        }
        byte[] bson = new byte[DataUtils.readVarInt(buffer)];
        buffer.get(bson);
        return StoredFields.document(bson);
    }

    @Override
    public Object[] createStorage(int size) {
        return new Object[size];
    }
}
