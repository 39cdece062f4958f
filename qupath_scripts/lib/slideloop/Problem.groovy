package slideloop

import groovy.transform.CompileStatic

/**
 * What went wrong, in one sentence, and the way out: a refusal of the server or a failure to reach it.
 *
 * Its message is what a pathologist is shown. It never holds a token.
 */
@CompileStatic
class Problem extends RuntimeException {

    private static final long serialVersionUID = 1L

    /** The server does not answer. */
    static final String UNREACHABLE = 'unreachable'

    /** Something answers, but it is no slideloop server. */
    static final String NOT_SLIDELOOP = 'not_slideloop'

    /** Refusals of whoever asks, or of the moment; what was asked may be right all the same. */
    private static final Set<Integer> NOT_ABOUT_THE_REQUEST = [401, 403, 407, 408, 425, 429] as Set<Integer>

    /** Stable name for programs: one of the server's, or one of ours. */
    final String code
    /** HTTP status; 0 when there was no answer. */
    final int status
    /** One sentence that names the thing and the facts. */
    final String detail
    /** What the user can do about it; may be empty. */
    final String hint
    /** Whether the same request may be sent again unchanged. */
    final boolean retry

    Problem(String code, int status, String detail, String hint, boolean retry) {
        super("${detail} ${hint}".toString().trim())
        this.code = code
        this.status = status
        this.detail = detail
        this.hint = hint
        this.retry = retry
    }

    /**
     * Whether it may pass without the request being changed: the server is away, wants another token,
     * has a fault of its own. What was to be sent waits then; otherwise it was refused.
     */
    boolean isPassing() {
        retry || status >= 500 || status in NOT_ABOUT_THE_REQUEST || code in [UNREACHABLE, NOT_SLIDELOOP]
    }

    /** Returns it as a map of its five fields, as `of` reads it; for files. */
    Map<String, Object> toMap() {
        [code: code, status: status, detail: detail, hint: hint, retry: retry] as Map<String, Object>
    }

    /** Reads one from problem+json or from `toMap`; what is missing is empty. */
    static Problem of(Map<?, ?> fields) {
        Object status = fields['status']
        new Problem(fields['code'] as String ?: 'internal', status instanceof Number ? ((Number) status).intValue() : 0,
            fields['detail'] as String ?: 'The server refused, and did not say why.',
            fields['hint'] as String ?: '', fields['retry'] as boolean)
    }
}
