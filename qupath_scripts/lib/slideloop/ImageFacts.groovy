package slideloop

import groovy.transform.CompileStatic
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer
import qupath.lib.images.servers.PixelCalibration
import qupath.lib.regions.RegionRequest

import java.awt.image.BufferedImage
import java.util.regex.Matcher

/**
 * What an image is, as the server compares it with the file: size, um/px, the way QuPath reads it,
 * and the mean colours of some rectangles. What the method cannot work on is refused here, before
 * anything is sent.
 */
@CompileStatic
final class ImageFacts {

    private static final int OVERVIEW_PX = 1024
    private static final int PROBE_PX = 256
    private static final int N_PROBES = 8
    /** Cells of the overview along each side; each gives at most one rectangle. */
    private static final int N_CELLS = 4

    /** um/px that the server takes; what lies outside is no scanner's. */
    private static final double LEAST_MPP = 0.02
    private static final double MOST_MPP = 20

    /** QuPath's types of image that may be H&E. */
    private static final List<String> TYPES = ['UNSET', 'BRIGHTFIELD_H_E'].asImmutable()
    private static final List<String> PLAIN = ['OpenSlide', 'Bio-Formats', 'ImageJ server', 'BufferedImage wrapper'].asImmutable()

    private ImageFacts() {
    }

    /**
     * Why an image cannot be used, with the way out; null if nothing speaks against it. Any thread, at once.
     */
    static String refusal(ImageServer<BufferedImage> server) {
        if (server.nZSlices() > 1 || server.nTimepoints() > 1) {
            return 'This image has several z-slices or time points, and slideloop works on one plane. ' +
                'Open a slide with a single one.'
        }
        if (!server.isRGB()) {
            return 'This image is not 8-bit RGB (brightfield), which is what slideloop works on. Open another slide.'
        }
        String type = server.serverType ?: ''
        if (!isPlain(type)) {
            return "QuPath shows this image through \"${type}\", which may turn, flip, crop or recolour it. " +
                'Add the file to the project again, without rotation, flip or crop.'
        }
        Collection<URI> uris = server.URIs
        if (uris.size() != 1 || uris[0].scheme != 'file') {
            return 'This image is not one file on a disk, which is what slideloop reads. Open a slide file.'
        }
        null
    }

    /** Why an image with its objects cannot be used, also since it is no H&E slide; null if it can. Any thread. */
    static String refusalOf(ImageData<BufferedImage> imageData) {
        String type = imageData.imageType?.name() ?: 'UNSET'
        type in TYPES ? refusal(imageData.server) : "QuPath says that it is ${type}, not H&E.".toString()
    }

    /** Whether QuPath shows a file's pixels as they are, by `getServerType()`. */
    static boolean isPlain(String serverType) {
        Matcher pyramid = serverType =~ /Generated pyramid \((.*)\)/
        (pyramid.matches() ? pyramid.group(1) : serverType) in PLAIN
    }

    /** um per level-0 pixel; null where it is not known or cannot be true. */
    static Double mpp(ImageServer<BufferedImage> server) {
        PixelCalibration calibration = server.pixelCalibration
        double mpp = calibration.hasPixelSizeMicrons() ? calibration.averagedPixelSizeMicrons : Double.NaN
        mpp > LEAST_MPP && mpp < MOST_MPP ? (Double) mpp : null
    }

    /** The file, as its URI. */
    static String uri(ImageServer<BufferedImage> server) {
        server.URIs[0].toString()
    }

    /**
     * What `POST /slides` wants to know. Reads pixels, for up to some seconds: not in the UI thread.
     *
     * @throws Problem `image_unreadable`
     */
    static Map<String, Object> of(ImageServer<BufferedImage> server) {
        Map<String, Object> facts = [path: uri(server), width: server.width, height: server.height,
                                     server_type: server.serverType] as Map<String, Object>
        Double mpp = mpp(server)
        if (mpp != null) {
            facts['mpp'] = mpp
        }
        try {
            facts['probe'] = places(server).collect { int[] place -> probe(server, place[0], place[1]) }
        } catch (IOException | RuntimeException err) {
            throw new Problem('image_unreadable', 0, "QuPath cannot read this image: ${err.message ?: err.class.simpleName}.",
                'Close it and open it again.', false)
        }
        facts
    }

    private static Map<String, Object> probe(ImageServer<BufferedImage> server, int x, int y) {
        int width = Math.min(PROBE_PX, server.width), height = Math.min(PROBE_PX, server.height)
        BufferedImage pixels = server.readRegion(RegionRequest.createInstance(server.path, 1d, x, y, width, height))
        int[] argb = pixels.getRGB(0, 0, pixels.width, pixels.height, null, 0, pixels.width)
        long red = 0, green = 0, blue = 0
        for (int value : argb) {
            red += (value >> 16) & 0xff
            green += (value >> 8) & 0xff
            blue += value & 0xff
        }
        double n = argb.length
        [x: x, y: y, width: width, height: height, rgb: [red / n, green / n, blue / n]] as Map<String, Object>
    }

    /** Upper left corners of the rectangles: the most coloured place of each part of the slide, the best ones. */
    private static List<int[]> places(ImageServer<BufferedImage> server) {
        double downsample = Math.max(1d, (double) (Math.max(server.width, server.height) / (double) OVERVIEW_PX))
        BufferedImage overview = server.readRegion(
            RegionRequest.createInstance(server.path, downsample, 0, 0, server.width, server.height))
        int step = Math.max(1, (int) (PROBE_PX / downsample))
        Map<Integer, double[]> best = [:]
        for (int top = 0; top + step <= overview.height; top += step) {
            for (int left = 0; left + step <= overview.width; left += step) {
                int cell = N_CELLS * (top * N_CELLS).intdiv(overview.height) + (left * N_CELLS).intdiv(overview.width)
                double colour = colourfulness(overview, left, top, step)
                if (!best.containsKey(cell) || colour > best[cell][0]) {
                    best[cell] = [colour, left, top] as double[]
                }
            }
        }
        List<double[]> ranked = new ArrayList<double[]>(best.values())
        ranked.sort { double[] it -> -it[0] }
        List<int[]> places = ranked.take(N_PROBES).collect { double[] it -> corner(server, it[1] * downsample, it[2] * downsample) }
        places ?: [[0, 0] as int[]]
    }

    private static int[] corner(ImageServer<BufferedImage> server, double x, double y) {
        int right = Math.max(0, server.width - PROBE_PX), bottom = Math.max(0, server.height - PROBE_PX)
        [Math.min((int) x, right), Math.min((int) y, bottom)] as int[]
    }

    private static double colourfulness(BufferedImage image, int left, int top, int side) {
        int[] argb = image.getRGB(left, top, side, side, null, 0, side)
        long total = 0
        for (int value : argb) {
            int red = (value >> 16) & 0xff, green = (value >> 8) & 0xff, blue = value & 0xff
            total += Math.max(red, Math.max(green, blue)) - Math.min(red, Math.min(green, blue))
        }
        (double) (total / (double) argb.length)
    }
}
