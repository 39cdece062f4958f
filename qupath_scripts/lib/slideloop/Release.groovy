package slideloop

import groovy.transform.CompileStatic

/** Which release of slideloop these scripts are of, as `slideloop qupath install` noted it beside them. */
@CompileStatic
final class Release {

    private static final String NOTED = 'installed.txt'

    private Release() {
    }

    /** The release; null if the scripts were not installed so. */
    static String installed() {
        Release.getResource(NOTED)?.getText('UTF-8')?.trim()
    }

    /** What is to be said of scripts of another release than the server's; null if nothing. */
    static String other(String ours, String theirs) {
        ours == null || ours == theirs ? null : "These scripts are of slideloop ${ours}, the server is ${theirs}. " +
            "Run 'slideloop qupath install' with the newer one on this computer, and start QuPath again."
    }
}
