// A mask imported, edited, imported again, corrected, saved and reopened: SETTINGS, a JSON file.
// Writes what it found as JSON to `out`; the test judges.
import com.google.gson.Gson
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.ProjectIO
import qupath.lib.projects.Projects
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.GeometryTools
import qupath.lib.roi.ROIs

import java.awt.image.BufferedImage

def gson = new Gson()
def settings = gson.fromJson(new File(args[0]).getText('UTF-8'), Map)
def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(settings.lib)
def load = { loader.loadClass("slideloop.$it") }
def Shapes = load('Shapes'), Plan = load('CorrectionPlan')
def found = [:]

def server = load('Server').newInstance(settings.url, null)
def project = Projects.createProject(new File(settings.project), BufferedImage)
def builder = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, new File(settings.slide).toURI().toString()).builders[0]
def entry = project.addImage(builder)
def imageData = entry.readImageData()
project.syncChanges()

def slide = server.get('/slides').find { it.path == settings.slide }
def study = server.get('/studies').find { slide.id in it.slides }
def isTemporary = { it.metadata['slideloop.patch'] != null }
def imports = load('MaskImport').newInstance(server, study, slide.id, imageData, isTemporary)
def all = { imageData.hierarchy.getAllObjects(false) }
def briefly = { it.collect { o -> [id: o.ID.toString(), name: o.name, class: o.pathClass?.toString(), type: o.class.simpleName,
    locked: o.locked, probability: o.measurementList.get('slideloop probability'), area: o.ROI.area, roi: o.ROI.class.simpleName] } }
def numbers = { [removed: it.removed().size(), edited: it.edited.size(), untouched: it.untouched.size(), added: it.added.size(), leftOut: it.nLeftOut, after: it.nAfter()] }
def addDrawn = { roi, name -> def o = PathObjects.createAnnotationObject(roi, PathClass.fromString(name)); imageData.hierarchy.addObjects([o]); o }
def problem = { try { it(); null } catch (Exception err) { err.code } }

// Import, twice.
def features = imports.fetch('detections', [], null)
def plan = imports.plan(features, false)
found.first = numbers(plan)
imports.apply(plan, false)
found.detections = briefly(all())
def before = all()*.ID as Set
found.second = problem { imports.apply(imports.plan(features, false), false) }
found.secondChanged = before != (all()*.ID as Set)
imports.apply(imports.plan(features, false), true)
found.replaced = briefly(all())

// Saved with the project, and reopened: nothing looks edited.
found.saved = imports.save(project)
def reopened = ProjectIO.loadProject(new File(settings.project, 'project.qpproj'), BufferedImage)
def again = load('MaskImport').newInstance(server, study, slide.id, reopened.imageList[0].readImageData(), isTemporary)
found.reopened = numbers(again.plan(features, false))

// One is given another class: a correction, sent once, and not removed by the next import.
def corrections = load('Corrections').newInstance(server, study.id, slide.id, imageData, isTemporary)
def largest = all().max { it.ROI.area }
largest.pathClass = PathClass.fromString('Other')
def send = { p, c -> server.send('POST', "/studies/${study.id}/regions", p.body(c, false)) }
def look = { corrections.plan(corrections.find(server.get("/studies/${study.id}")), []) }
def tell = { it.corrections.collect { c -> [id: c.drawn.id.toString(), label: c.drawn.label, how: c.drawn.how, state: c.state, n: c.patches.cardinality(), event: c.eventId] } }
def first = look()
found.reclassified = tell(first)
found.sent = first.corrections.collect { send(first, it).n_given }
found.resent = first.corrections.collect { send(first, it).n_given }
found.afterSending = tell(look())
found.nRegionLabels = server.get("/studies/${study.id}").n_region_labels
found.withEdit = numbers(imports.plan(features, false))
found.discarding = numbers(imports.plan(features, true))
imports.apply(imports.plan(features, false), true)
found.kept = briefly(all())
server.send('POST', "/studies/${study.id}/undo", [scope: 'last', event_id: UUID.randomUUID().toString()])
found.takenBack = tell(look())

// What is drawn, and what is left out.
def plane = ImagePlane.defaultPlane
def ring = GeometryTools.createRectangle(480, 480, 960, 960).difference(GeometryTools.createRectangle(768, 768, 384, 384))
def parts = GeometryTools.createRectangle(1920, 480, 288, 288).union(GeometryTools.createRectangle(2400, 480, 288, 288))
addDrawn(GeometryTools.geometryToROI(ring, plane), 'Other')
addDrawn(GeometryTools.geometryToROI(parts, plane), 'Tumor')
addDrawn(ROIs.createEllipseROI(2000, 1500, 700, 500, plane), 'Other')
addDrawn(ROIs.createPolygonROI([1000, 1500, 1000, 1500] as double[], [1700, 2100, 2100, 1700] as double[], plane), 'Tumor')
addDrawn(ROIs.createRectangleROI(2900, 480, 288, 288, plane), 'Ignore*')
addDrawn(ROIs.createRectangleROI(0, 0, 10, 10, plane), 'Other')
addDrawn(ROIs.createLineROI(500, 500, 900, 900, plane), 'Other')
addDrawn(ROIs.createRectangleROI(700, 480, 288, 288, plane), 'Stroma')
def query = study.sessions[0].query
addDrawn(ROIs.createRectangleROI(query.x, query.y, query.width, query.height, plane), 'Tumor')
addDrawn(ROIs.createRectangleROI(960, 960, 96, 96, plane), 'Tumor').metadata['slideloop.patch'] = 'x'
imageData.hierarchy.addObjects([PathObjects.createAnnotationObject(ROIs.createRectangleROI(960, 960, 96, 96, plane))])
def drawn = corrections.find(server.get("/studies/${study.id}"))
found.unknown = drawn.unknownClasses as List
found.nWithoutArea = drawn.nWithoutArea
def drawnPlan = look()
found.drawn = tell(drawnPlan)
found.drawnSent = drawnPlan.corrections.findAll { it.possible }.collect { [it.drawn.id.toString(), send(drawnPlan, it).n_given] }
found.drawnAfter = tell(look())

// Other kinds.
imageData.hierarchy.clearAll()
imports.apply(imports.plan(imports.fetch('annotations', ['Tumor', 'Other'], null), false), false)
found.annotations = briefly(all())
def moved = all().find { it.pathClass.toString() == 'Tumor' }
moved.ROI = moved.ROI.translate(5, 0)
found.moved = numbers(imports.plan(imports.fetch('annotations', ['Tumor', 'Other'], null), false))
found.movedPlan = tell(look())
imageData.hierarchy.clearAll()
long start = System.nanoTime()
imports.apply(imports.plan(imports.fetch('tiles', ['Tumor'], 0.5d), false), false)
found.tiles = [n: all().size(), kinds: all()*.class*.simpleName.unique(), ms: (System.nanoTime() - start).intdiv(1000000)]
def prediction = load('Prediction').newInstance(server.get("/studies/${study.id}/prediction?slide=${slide.id}&format=arrays"))
found.prediction = [n: prediction.n, tumour: prediction.count('Tumor'), given: prediction.nGiven(), sure: prediction.nSure(), mean: prediction.meanProbability('Tumor')]
new File(settings.out).setText(gson.toJson(found), 'UTF-8')
