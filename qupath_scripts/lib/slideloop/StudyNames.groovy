package slideloop

import groovy.transform.CompileStatic

/** What a study's classes are called in this QuPath, where they were renamed there. Never changes. */
@CompileStatic
final class StudyNames {

    /** For a study none of whose classes was renamed. */
    static final StudyNames SAME = new StudyNames([:])

    private final Map<String, String> renamed

    /** @param renamed QuPath's name by the study's, of those that differ */
    StudyNames(Map<String, String> renamed) {
        this.renamed = Collections.unmodifiableMap(new LinkedHashMap<String, String>(renamed))
    }

    /** QuPath's name of a class of the study. */
    String inQuPath(String name) {
        renamed.get(name) ?: name
    }

    /** The study's name of a class of QuPath's; itself if the study has no other for it. */
    String inStudy(String name) {
        renamed.find { String study, String quPath -> quPath == name }?.key ?: name
    }
}
