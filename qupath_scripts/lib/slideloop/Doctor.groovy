package slideloop

import groovy.transform.CompileStatic
import qupath.lib.common.GeneralTools
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer

import java.awt.image.BufferedImage
import java.util.function.Supplier

/** Looks at everything between the user and a first round, and says what works and what to do. */
@CompileStatic
final class Doctor {

    private static final int API_VERSION = 1
    private static final List<String> TESTED = ['0.5.', '0.6.', '0.7.'].asImmutable()

    /** One thing that was looked at. */
    static final class Finding {
        final boolean isWell
        final String text

        Finding(boolean isWell, String text) {
            this.isWell = isWell
            this.text = text
        }
    }

    private final String url
    private final String token
    private final ImageServer<BufferedImage> image
    private final Outbox outbox
    private final Problem trouble

    /**
     * UI thread: notes what is open now.
     *
     * @param url of the server to look at, which need not be the one connected to
     */
    Doctor(App app, String url, String token) {
        this.url = url
        this.token = token
        ImageData<BufferedImage> imageData = app.gui.imageData
        image = imageData?.server
        outbox = app.connection?.outbox
        trouble = app.trouble
    }

    /** Look, for some seconds where the server is away; not in the UI thread. */
    List<Finding> examine() {
        List<Finding> found = []
        found << quPath()
        Server server = null
        try {
            server = new Server(url, { token } as Supplier<String>)
            server.get('/health')
            found << new Finding(true, "The server at ${server.url} answers.")
            Map<String, Object> info = (Map<String, Object>) server.get('/info')
            found << offer(info)
            String other = Release.other(Release.installed(), (String) info['version'])
            if (other != null) {
                found << new Finding(false, other)
            }
        } catch (Problem problem) {
            found << away(server, problem)
            server = null
        }
        found.addAll(imageFindings(server))
        found << outboxFinding()
        found
    }

    private static Finding away(Server server, Problem problem) {
        if (server == null || problem.code != Problem.UNREACHABLE || !LocalServer.canAnswerAt(server)) {
            return new Finding(false, problem.message)
        }
        LocalServer.noted() != null ? new Finding(true, "No server runs at ${server.url}: Connect starts one on this computer.") :
            new Finding(false, "${problem.detail} Start it with 'slideloop serve', or run 'slideloop qupath install' so that it is started from here.")
    }

    private static Finding quPath() {
        String version = GeneralTools.version ?: 'of an unknown version'
        boolean isTested = TESTED.any { String it -> version.startsWith(it) }
        new Finding(isTested, "QuPath ${version}${isTested ? '' : ', which slideloop was not tried with: use 0.5 to 0.7'}.")
    }

    private static Finding offer(Map<String, Object> info) {
        if (info['api_version'] != API_VERSION) {
            return new Finding(false, "The server speaks version ${info['api_version']} of the interface, these scripts " +
                "version ${API_VERSION}. Install server and scripts of the same release.")
        }
        Map<String, Object> defaults = (Map<String, Object>) info['defaults']
        new Finding(true, "slideloop ${info['version']}: encoder ${defaults['encoder']} on ${info['device']}, " +
            "patches of ${defaults['patch_px']} px.")
    }

    private List<Finding> imageFindings(Server server) {
        if (image == null) {
            return [new Finding(true, 'No image is open.')]
        }
        String refusal = ImageFacts.refusal(image)
        if (refusal != null) {
            return [new Finding(false, refusal)]
        }
        Double mpp = ImageFacts.mpp(image)
        List<Finding> found = [new Finding(true, "The open image can be used: ${image.width} x ${image.height} px, " +
            "${mpp == null ? 'µm/px not known' : String.format(Locale.ROOT, '%.4g µm/px', mpp)}.")]
        if (server != null) {
            try {
                List<Map<String, Object>> slides = SlideImages.of(image, (List<Map<String, Object>>) server.get('/slides'))
                found << (slides ? new Finding(true, "The server knows it: ${slides.collect { Map it -> "${it['n_indexed']} patches of " +
                    "${((Map) it['grid'])['patch_px']} px (${it['state']})" }.join('; ')}.") :
                    new Finding(true, 'The server does not know it yet; a query or a new study sends it.'))
            } catch (Problem problem) {
                found << new Finding(false, problem.message)
            }
        }
        found
    }

    private Finding outboxFinding() {
        if (outbox == null) {
            return new Finding(trouble == null, trouble == null ? 'Nothing is connected yet.' : trouble.message)
        }
        int nWaiting = outbox.waiting().size(), nRefused = outbox.refused().size()
        String away = outbox.trouble() == null ? '' : " ${outbox.trouble().message}"
        if (nRefused) {
            return new Finding(false, "The server did not accept ${WindowWords.count(nRefused, 'change')}: decide in Review. " +
                "${WindowWords.count(nWaiting, 'change')} on the way.")
        }
        String waiting = "${WindowWords.count(nWaiting, 'change')} waiting on this computer, in ${Settings.outboxes()}.${away}"
        new Finding(nWaiting == 0, nWaiting == 0 ? 'All your labels are with the server.' : waiting)
    }
}
