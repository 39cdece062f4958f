package slideloop

import groovy.transform.CompileStatic

import java.nio.charset.StandardCharsets
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.util.function.Consumer

/**
 * A server on this computer that is started from here, by the command that `slideloop qupath install`
 * noted beside the scripts. What it says goes to a file, so that it can outlive QuPath. Any thread but
 * the UI's.
 */
@CompileStatic
final class LocalServer {

    private static final String NOTED = 'server.txt'
    private static final String HOST = '127.0.0.1'
    private static final long LOOK_MS = 250
    private static final long START_S = 300
    private static final int MOST_LOG_BYTES = 100_000

    private final Server server
    private final List<String> command
    private final Path log

    /**
     * @param server where it shall answer: on this computer
     * @param command program and arguments, without the address
     * @param log the file for what it says; that of the start before is kept beside it
     */
    LocalServer(Server server, List<String> command, Path log) {
        this.server = server
        this.command = command
        this.log = log
    }

    /** The command that was noted; null if the scripts were not installed by the command line. */
    static List<String> noted() {
        List<String> words = LocalServer.getResource(NOTED)?.getText('UTF-8')?.readLines()?.findAll { String it -> it }
        words ?: (List<String>) null
    }

    /** Whether one can be started to answer at an address, by the address alone. */
    static boolean canAnswerAt(Server server) {
        server.isLoopback() && server.url ==~ /http:\/\/(localhost|127\.0\.0\.1):\d+/
    }

    /**
     * Starts it, and waits until it answers.
     *
     * @param said gets the last line of its log, now and then
     * @return the process; null if another one answers there by now
     * @throws Problem `server_not_started` with what it said; whatever `said` throws, and then it is stopped
     */
    Process start(Consumer<String> said) {
        if (isThere()) {
            return null
        }
        Process process = run()
        boolean isUp = false
        try {
            isUp = waitFor(process, said)
            return isUp && process.alive ? process : null
        } finally {
            if (!isUp) {
                stop(process)
            }
        }
    }

    /** Ends a server as its user would; Windows has a program of Python's between. */
    static void stop(Process process) {
        process.descendants().forEach { ProcessHandle it -> it.destroy() }
        process.destroy()
    }

    /** The end of what a server said; empty if it said nothing. */
    static String said(Path log) {
        if (!Files.exists(log)) {
            return ''
        }
        byte[] all = Files.readAllBytes(log)
        int from = Math.max(0, all.length - MOST_LOG_BYTES)
        new String(all, from, all.length - from, StandardCharsets.UTF_8)
    }

    private Process run() {
        Files.createDirectories(log.parent)
        if (Files.exists(log)) {
            Files.move(log, log.resolveSibling("${log.fileName}.before".toString()), StandardCopyOption.REPLACE_EXISTING)
        }
        int port = URI.create(server.url).port
        List<String> line = command + ['--host', HOST, '--port', port.toString()]
        ProcessBuilder builder = new ProcessBuilder(line).directory(log.parent.toFile())
            .redirectErrorStream(true).redirectOutput(log.toFile())
        builder.environment().putAll([PYTHONUTF8: '1', PYTHONUNBUFFERED: '1'])
        try {
            Process process = builder.start()
            process.outputStream.close()
            return process
        } catch (IOException err) {
            throw new Problem('server_not_started', 0, "The program ${command[0]} cannot be started: ${err.message}.",
                "Install slideloop again, then run 'slideloop qupath install'.", false)
        }
    }

    private boolean waitFor(Process process, Consumer<String> said) {
        long end = System.currentTimeMillis() + 1000 * START_S
        while (System.currentTimeMillis() < end) {
            if (isThere()) {
                return true
            }
            said.accept(last())
            if (!process.alive) {
                throw failed("ended as it started: ${last() ?: 'it said nothing'}")
            }
            pause()
        }
        throw failed("does not answer after ${START_S} s")
    }

    private boolean isThere() {
        try {
            server.get('/health')
            return true
        } catch (Problem problem) {
            if (problem.code != Problem.UNREACHABLE) {
                throw problem
            }
            return false
        }
    }

    private String last() {
        said(log).readLines().reverse().find { String it -> !it.isBlank() } ?: ''
    }

    private Problem failed(String what) {
        new Problem('server_not_started', 0, "The server ${what}", "All that it said is in ${log}.", false)
    }

    private static void pause() {
        try {
            Thread.sleep(LOOK_MS)
        } catch (InterruptedException ignored) {
            Thread.currentThread().interrupt()
            throw new Problem('interrupted', 0, 'Cancelled.', '', false)
        }
    }
}
