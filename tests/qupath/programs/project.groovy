// Makes a project of images with objects of others in them, in a QuPath without windows.
// One argument: a JSON file of settings. The entries' ids by name are written as JSON to its `out`.
import com.google.gson.Gson
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.images.servers.RotatedImageServer
import qupath.lib.images.servers.openslide.jna.OpenSlideLoader
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.Projects
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs

import java.awt.image.BufferedImage

def settings = new Gson().fromJson(new File(args[0]).getText('UTF-8'), Map)
OpenSlideLoader.tryToLoadQuietly('')
def project = Projects.createProject(new File(settings.project), BufferedImage)
def plane = ImagePlane.defaultPlane
def ids = [:]
settings.images.eachWithIndex { given, i ->
    def uri = new File(given.file).toURI().toString()
    def builder = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, uri, *(given.args ?: [])).builders[0]
    if (given.rotated) {
        builder = new RotatedImageServer(builder.build(), RotatedImageServer.Rotation.ROTATE_180).builder
    }
    def entry = project.addImage(builder)
    entry.imageName = given.name
    ids[given.name] = entry.ID
    if (given.n == null) {
        return
    }
    def imageData = entry.readImageData()
    imageData.imageType = ImageData.ImageType.BRIGHTFIELD_H_E
    def random = new Random(i)
    def cells = (0..<(given.n as int)).collect {
        def cell = PathObjects.createDetectionObject(
            ROIs.createEllipseROI(random.nextInt(1400), random.nextInt(900), 12, 9, plane), PathClass.fromString('Other: Lymphocyte'))
        cell.measurementList.put('Nucleus: Area', it / 4d)
        cell
    }
    def drawn = PathObjects.createAnnotationObject(ROIs.createRectangleROI(20, 30, 200, 100, plane), PathClass.fromString('Région*'))
    drawn.name = 'Größe 检查'
    // As the review leaves them when QuPath is killed after a save.
    def temporary = (0..<((given.patches ?: 0) as int)).collect {
        def patch = PathObjects.createAnnotationObject(ROIs.createRectangleROI(96 * it, 0, 96, 96, plane))
        patch.metadata['slideloop.patch'] = "p${it}".toString()
        patch
    }
    def truth = given.truth ? PathIO.readObjects(new File(given.truth as String)) : []
    imageData.hierarchy.addObjects(cells + [drawn] + temporary + truth)
    entry.saveImageData(imageData)
}
project.setPathClasses(['Tumor', 'Région*'].collect { PathClass.fromString(it) })
project.syncChanges()
new File(settings.out).setText(new Gson().toJson(ids), 'UTF-8')
