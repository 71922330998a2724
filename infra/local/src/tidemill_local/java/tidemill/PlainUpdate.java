package tidemill;

import de.bwaldvogel.mongo.bson.Document;
import java.util.Collection;
import java.util.Map;
import java.util.Objects;

/** Sets and removes whole fields of stored documents: each is replaced by a copy that shares its other values. */
public final class PlainUpdate {
    private PlainUpdate() {
    }

    /** Updates the documents with these keys, which are there, and returns how many that changed. */
    public static int apply(Map<Object, Object> documents, Collection<?> keys, Document set, Document unset) {
        int changed = 0;
        for (Object key : keys) {
            Document stored = StoredFields.read((Document) documents.get(key));
            if (!differs(stored, set, unset)) {
                continue;
            }
            Document updated = stored.clone();
            updated.putAll(set.cloneDeeply()); // of its own, as the library changes what is in a document
            for (String name : unset.keySet()) {
                updated.remove(name);
            }
            documents.put(key, updated);
            changed++;
        }
        return changed;
    }

    private static boolean differs(Document stored, Document set, Document unset) {
        for (Map.Entry<String, Object> field : set.entrySet()) {
            if (!stored.containsKey(field.getKey()) || !Objects.equals(stored.get(field.getKey()), field.getValue())) {
                return true;
            }
        }
        for (String name : unset.keySet()) {
            if (stored.containsKey(name)) {
                return true;
            }
        }
        return false;
    }
}
