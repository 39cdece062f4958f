// Edits objects of an image of a project, as a user would, and saves it.
// One argument: a JSON file of settings: `classes` by object id, ids that are `moved` or `removed`, classes `renamed`.
import com.google.gson.Gson
import qupath.lib.images.servers.openslide.jna.OpenSlideLoader
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.ProjectIO

import java.awt.image.BufferedImage

def settings = new Gson().fromJson(new File(args[0]).getText('UTF-8'), Map)
OpenSlideLoader.tryToLoadQuietly('')
def project = ProjectIO.loadProject(new File(settings.project as String, 'project.qpproj'), BufferedImage)
def entry = project.imageList.find { it.ID == settings.entry }
def imageData = entry.readImageData()
def objects = imageData.hierarchy.getAllObjects(false)
objects.each {
    def name = settings.classes?.get(it.ID.toString()) ?: settings.renamed?.get(it.pathClass?.toString())
    if (name) {
        it.setPathClass(PathClass.fromString(name as String))
    }
    if (it.ID.toString() in settings.moved) {
        it.setROI(it.ROI.translate(7, 0))
    }
}
imageData.hierarchy.removeObjects(objects.findAll { it.ID.toString() in settings.removed }, true)
entry.saveImageData(imageData)
new File(settings.out).setText('{}', 'UTF-8')
