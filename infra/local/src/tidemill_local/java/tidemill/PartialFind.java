package tidemill;

import de.bwaldvogel.mongo.backend.DefaultQueryMatcher;
import de.bwaldvogel.mongo.backend.Utils;
import de.bwaldvogel.mongo.backend.ValueComparator;
import de.bwaldvogel.mongo.bson.Document;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;

/**
 * Finds documents, and holds of those that match no more than what is asked for: as an object, one takes several times
 * its size as BSON.
 */
public final class PartialFind {
    private static final int PART = 64; // documents that are read while nobody else has the collection

    private PartialFind() {
    }

    /** Returns the ids of those that match, sorted where there is an order; the first ones where the limit is not 0. */
    public static List<Object> ids(Map<Object, Object> documents, Document query, Document order, int limit) {
        DefaultQueryMatcher matcher = new DefaultQueryMatcher();
        Comparator<Object[]> comparator = comparator(order);
        PriorityQueue<Object[]> last = new PriorityQueue<>(comparator.reversed());
        List<Object[]> found = new ArrayList<>();
        for (Object each : documents.values()) {
            Document stored = StoredFields.read((Document) each);
            if (!matcher.matches(stored, query)) {
                continue;
            }
            if (limit == 0 || order.isEmpty()) {
                found.add(row(stored, order));
                if (found.size() == limit) {
                    break;
                }
                continue;
            }
            last.add(row(stored, order));
            if (last.size() > limit) {
                last.remove();
            }
        }
        found.addAll(last);
        found.sort(comparator);
        List<Object> ids = new ArrayList<>(found.size());
        for (Object[] row : found) {
            ids.add(row[0]);
        }
        return ids;
    }

    /** Returns whole fields of the documents with these ids that are there and match, in the same order. */
    public static List<Document> read(
            Object collection, Map<Object, Object> documents, List<Object> ids, Document query, List<String> fields) {
        DefaultQueryMatcher matcher = new DefaultQueryMatcher();
        List<Document> found = new ArrayList<>();
        for (int begin = 0; begin < ids.size(); begin += PART) {
            synchronized (collection) { // as all of the library's changes are
                for (Object id : ids.subList(begin, Math.min(begin + PART, ids.size()))) {
                    Document stored = (Document) documents.get(id);
                    if (stored == null) {
                        continue;
                    }
                    Document opened = StoredFields.read(stored);
                    if (matcher.matches(opened, query)) {
                        found.add(part(opened, fields));
                    }
                }
            }
        }
        return found;
    }

    private static Document part(Document stored, List<String> fields) {
        Document part = new Document();
        for (String field : fields) {
            if (stored.containsKey(field)) {
                part.put(field, stored.get(field));
            }
        }
        return part.cloneDeeply(); // the library changes what is in a stored one
    }

    /** Returns the id of a document, and what it is sorted by. */
    private static Object[] row(Document stored, Document order) {
        Object[] row = new Object[1 + order.size()];
        row[0] = stored.get("_id");
        int at = 1;
        for (String field : order.keySet()) {
            row[at++] = Utils.getSubdocumentValueCollectionAware(stored, field);
        }
        return row;
    }

    private static Comparator<Object[]> comparator(Document order) {
        Comparator<Object[]> comparator = (one, other) -> 0;
        int at = 1;
        for (Object direction : order.values()) {
            int index = at++;
            ValueComparator values = ((Number) direction).intValue() > 0 ? ValueComparator.asc() : ValueComparator.desc();
            comparator = comparator.thenComparing((one, other) -> values.compare(one[index], other[index]));
        }
        return comparator;
    }
}
