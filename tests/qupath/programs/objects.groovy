// Tells all objects of all images of a project as QuPath reads them anew, and its class list.
// One argument: a JSON file of settings. What was found is written as JSON to its `out`.
import com.google.gson.Gson
import qupath.lib.projects.ProjectIO

import java.awt.image.BufferedImage

def settings = new Gson().fromJson(new File(args[0]).getText('UTF-8'), Map)
def project = ProjectIO.loadProject(new File(settings.project as String, 'project.qpproj'), BufferedImage)
def found = project.imageList.collectEntries { entry ->
    if (!entry.hasImageData()) {
        return [(entry.ID): []]
    }
    [(entry.ID): entry.readHierarchy().getAllObjects(false).collect {
        [id: it.ID.toString(), name: it.name, class: it.pathClass?.toString(), type: it.getClass().simpleName, locked: it.isLocked(),
         shape: it.ROI.geometry.toText(), measurements: it.measurements.collectEntries { name, value -> [(name): value as double] }]
    }]
}
def classes = project.pathClasses.findAll { it?.name != null }.collect { [it.toString(), it.color] }
new File(settings.out).setText(new Gson().toJson([objects: found, classes: classes]), 'UTF-8')
