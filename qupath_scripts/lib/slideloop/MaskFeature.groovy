package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Geometry

/** One object of a mask as the server gives it, to be made one of QuPath's. Never changes. */
@CompileStatic
final class MaskFeature {

    /** The measurement that holds the mean probability of an object. */
    static final String PROBABILITY = 'slideloop probability'

    final String studyId
    final UUID id
    /** `detection`, `annotation` or `tile`. */
    final String type
    /** As the server writes it; derived classes with ": ". */
    final String className
    /** 0xRRGGBB, for classes that QuPath does not know yet. */
    final int rgb
    /** Level-0 pixels, valid. */
    final Geometry outline
    /** Of its class, 0 to 1; NaN if unknown. */
    final double probability

    private MaskFeature(String studyId, Map<?, ?> feature) {
        this.studyId = studyId
        // Not by index: Groovy 5 takes "properties" of a map for those of the Java object.
        Map properties = (Map) feature.get('properties')
        Map classification = (Map) properties['classification']
        List<Number> colour = (List<Number>) classification['color']
        id = UUID.fromString((String) feature['id'])
        type = (String) properties['objectType']
        className = (classification['name'] ?: ((List) classification['names']).join(': ')) as String
        rgb = colour[0].intValue() << 16 | colour[1].intValue() << 8 | colour[2].intValue()
        outline = Shapes.read((Map) feature['geometry'])
        Number given = (Number) ((Map) properties['measurements'])?.get(PROBABILITY)
        probability = given == null ? Double.NaN : given.doubleValue()
    }

    /**
     * Reads the objects of the server's answer to `prediction?format=geojson`.
     *
     * @param studyId study that was asked
     * @param collection a FeatureCollection as Json.read gives it
     */
    static List<MaskFeature> all(String studyId, Map<?, ?> collection) {
        ((List<Map>) collection['features']).collect { Map it -> new MaskFeature(studyId, it) }
    }
}
