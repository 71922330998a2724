package tidemill;

import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.nio.ByteBuffer;
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

    private final ObjectDataType any = new ObjectDataType();
    private volatile int averageBytes = 1024;

    @Override
    public int getMemory(Object value) {
        return value instanceof Document ? averageBytes : any.getMemory(value);
    }

    @Override
    public void write(WriteBuffer buffer, Object value) {
        if (!(value instanceof Document)) {
            any.write(buffer, value);
            return;
        }
        ByteBuf bytes = Unpooled.buffer(2 * averageBytes);
        try {
            BsonEncoder.encodeDocument((Document) value, bytes);
        } catch (RuntimeException error) { // it has a value that BSON does not have
            any.write(buffer, value);
            return;
        }
        int size = bytes.readableBytes();
        buffer.put(BSON).putVarInt(size).put(bytes.array(), bytes.arrayOffset(), size);
        averageBytes += (size - averageBytes) / 16;
    }

    @Override
    public Object read(ByteBuffer buffer) {
        int begin = buffer.position();
        if (buffer.get() != BSON) {
            buffer.position(begin);
            return any.read(buffer);
        }
        byte[] bytes = new byte[DataUtils.readVarInt(buffer)];
        buffer.get(bytes);
        return BsonDecoder.decodeBson(Unpooled.wrappedBuffer(bytes));
    }

    @Override
    public Object[] createStorage(int size) {
        return new Object[size];
    }
}
