package slideloop

import com.google.gson.JsonParseException
import groovy.transform.CompileStatic

import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.nio.charset.StandardCharsets
import java.time.Duration
import java.util.function.Supplier
import java.util.regex.Matcher

/**
 * Requests to one slideloop server.
 *
 * Every call blocks until the answer is there, for seconds where the server is away: never on the
 * JavaFX thread. Safe from any number of other threads. An interrupted thread gets a Problem of code
 * `interrupted`. The token is asked for anew with every request and stands in no message.
 */
@CompileStatic
final class Server {

    private static final int CONNECT_S = 5
    private static final int ANSWER_S = 15
    /** The first time, a slide is read to its end, over a network perhaps. */
    private static final int SLIDE_S = 600
    private static final Set<String> LOOPBACK = ['localhost', '127.0.0.1', '[::1]'] as Set<String>

    /** Address without the API's path and without a slash at its end, such as http://127.0.0.1:8765. */
    final String url
    private final Supplier<String> token
    private final HttpClient client

    /**
     * @param url such as http://127.0.0.1:8765
     * @param token gives the server's token, null or blank for none; called in the thread of the request
     * @throws Problem `url_invalid` if that is no address
     */
    Server(String url, Supplier<String> token) {
        this.url = addressOf(url)
        this.token = token
        HttpClient.Builder builder = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(CONNECT_S))
            .followRedirects(HttpClient.Redirect.NEVER)
        if (isLoopback()) {
            // A hospital's proxy knows nothing of this machine's own servers.
            builder.proxy(HttpClient.Builder.NO_PROXY)
        } else if (ProxySelector.default != null) {
            builder.proxy(ProxySelector.default)
        }
        client = builder.build()
    }

    /** Whether the server runs on this machine, by its address. */
    boolean isLoopback() {
        hostOf(url) in LOOPBACK
    }

    /**
     * What names the server whatever way its address is written: the same for localhost and 127.0.0.1.
     * Holds no token.
     */
    String identity() {
        isLoopback() ? url.replace("//${hostOf(url)}", '//localhost') : url
    }

    /**
     * Asks; a GET never changes anything.
     *
     * @param path below /api/v1, such as "/studies/x/round?wait=30"; the time out follows its `wait` (s)
     * @return maps, lists and values as Json.read gives them
     * @throws Problem whatever the server refused, `unreachable`, `not_slideloop`
     */
    Object get(String path) {
        send('GET', path, null)
    }

    /**
     * Sends a request once; whether to send it again is the caller's business.
     *
     * @param method GET, POST, PUT, PATCH or DELETE
     * @param path below /api/v1
     * @param body null for none
     * @return as `get`
     * @throws Problem as `get`
     */
    Object send(String method, String path, Map<?, ?> body) {
        HttpResponse<byte[]> answer = exchange(method, path, body)
        try {
            Object found = Json.read(new String(answer.body(), StandardCharsets.UTF_8))
            if (found instanceof Map || found instanceof List) {
                return found
            }
        } catch (JsonParseException ignored) {
            // Said below.
        }
        throw stranger(answer.statusCode())
    }

    /**
     * Fetches what is no JSON: a mask, a report.
     *
     * @throws Problem as `get`
     */
    byte[] bytes(String path) {
        exchange('GET', path, null).body()
    }

    /** Returns a name as a part of a path: escaped, slashes too. */
    static String segment(Object name) {
        URLEncoder.encode(String.valueOf(name), StandardCharsets.UTF_8).replace('+', '%20')
    }

    @Override
    String toString() {
        "Server ${url}"
    }

    private HttpResponse<byte[]> exchange(String method, String path, Map<?, ?> body) {
        HttpRequest request = requestOf(method, path, body)
        HttpResponse<byte[]> answer
        try {
            answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray())
        } catch (InterruptedException ignored) {
            Thread.currentThread().interrupt()
            throw new Problem('interrupted', 0, 'The request was given up.', '', true)
        } catch (IOException err) {
            throw unreachable(err)
        }
        if (answer.statusCode().intdiv(100) != 2) {
            throw refusal(answer)
        }
        answer
    }

    private HttpRequest requestOf(String method, String path, Map<?, ?> body) {
        Matcher wait = path =~ /[?&]wait=(\d+)/
        int wait_s = wait.find() ? wait.group(1) as int : path == '/slides' || path.startsWith('/slides?path=') ? SLIDE_S : 0
        HttpRequest.Builder builder = HttpRequest.newBuilder(URI.create("${url}/api/v1${path}"))
            .timeout(Duration.ofSeconds(wait_s + ANSWER_S))
            .header('Accept', 'application/json')
        if (body == null) {
            builder.method(method, HttpRequest.BodyPublishers.noBody())
        } else {
            builder.header('Content-Type', 'application/json')
            builder.method(method, HttpRequest.BodyPublishers.ofString(Json.write(body), StandardCharsets.UTF_8))
        }
        String secret = token?.get()?.trim()
        if (secret) {
            if (!(secret ==~ /[\x21-\x7e]+/)) {
                // Java would put the header, and with it the token, into its exception.
                throw new Problem('token_invalid', 401, 'The token holds characters that no token has.',
                    'Copy it again from the server\'s token file, and enter it with Connect.', false)
            }
            builder.header('Authorization', "Bearer ${secret}")
        }
        builder.build()
    }

    private Problem refusal(HttpResponse<byte[]> answer) {
        int status = answer.statusCode()
        String type = answer.headers().firstValue('Content-Type').orElse('')
        if (!type.startsWith('application/problem+json')) {
            return stranger(status)
        }
        if (status == 401) {
            return new Problem('unauthorized', status, "The server at ${url} wants its token, or another one.",
                'Enter it with Connect in the menu; who runs the server knows it.', false)
        }
        try {
            Object fields = Json.read(new String(answer.body(), StandardCharsets.UTF_8))
            if (fields instanceof Map) {
                return Problem.of([status: status] + (Map) fields)
            }
        } catch (JsonParseException ignored) {
            // Said below.
        }
        stranger(status)
    }

    /** Returns what is said when something answers that is no slideloop server, with the status of its answer. */
    Problem stranger(int status) {
        new Problem(Problem.NOT_SLIDELOOP, status, "What answers at ${url} is not a slideloop server.",
            'Check the address with Connect in the menu; perhaps another program uses this port.', false)
    }

    private Problem unreachable(IOException err) {
        // ConnectException has no message: what there is to say is ours to say.
        boolean isSilent = err instanceof java.net.http.HttpTimeoutException &&
            !(err instanceof java.net.http.HttpConnectTimeoutException)
        String what = isSilent ? 'takes too long to answer' : 'does not answer'
        String hint = isLoopback() ?
            "Choose Connect in the menu, which starts one or takes another address; or start it with 'slideloop serve'." :
            'See whether it runs and this machine is on its network, or correct the address with Connect in the menu.'
        Problem problem = new Problem(Problem.UNREACHABLE, 0, "The slideloop server at ${url} ${what}.", hint, true)
        problem.initCause(err)
        problem
    }

    private static String addressOf(String given) {
        String text = (given ?: '').trim().replaceAll('/+$', '')
        URI found = null
        try {
            found = new URI(text)
        } catch (URISyntaxException ignored) {
            // Said below.
        }
        boolean isAddress = found?.host != null && found.scheme?.toLowerCase() in ['http', 'https'] &&
            found.rawUserInfo == null && found.rawQuery == null && found.rawFragment == null
        if (!isAddress) {
            throw new Problem('url_invalid', 0, 'That is not the address of a server.',
                'Enter one such as http://127.0.0.1:8765 with Connect in the menu.', false)
        }
        String port = found.port < 0 ? '' : ":${found.port}"
        "${found.scheme.toLowerCase()}://${found.host.toLowerCase()}${port}${found.rawPath ?: ''}"
    }

    private static String hostOf(String url) {
        new URI(url).host
    }
}
