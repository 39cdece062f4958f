// What the library makes of masks and regions: one JSON command a line in, one JSON answer a line out.
import org.locationtech.jts.geom.Coordinate
import slideloop.CorrectionPlan
import slideloop.Cover
import slideloop.ImportPlan
import slideloop.Json
import slideloop.MaskFeature
import slideloop.ObjectId
import slideloop.Prediction
import slideloop.PredictionFacts
import slideloop.SentRegions
import slideloop.Shapes

def xs = { area -> area.coordinates*.x as double[] }
def ys = { area -> area.coordinates*.y as double[] }

def held = { Map it ->
    def area = Shapes.read(it.geometry)
    new ImportPlan.Held(it.id, UUID.fromString(it.id), it.name, it['class'], xs(area), ys(area))
}

def commands = [
    // Ids of a server's objects, computed again from class and outline.
    ids: { Map it -> MaskFeature.all(it.study, it.collection).collect { f ->
        [f.id.toString(), ObjectId.of(it.study, f.className, xs(f.outline), ys(f.outline)).toString()]
    } },
    of: { Map it -> ObjectId.of(it.study, it['class'], it.x as double[], it.y as double[]).toString() },
    classOf: { Map it -> ObjectId.classOf(it.classes, it.name) },
    plan: { Map it ->
        def plan = new ImportPlan(it.study, it.held.collect(held), MaskFeature.all(it.study, it.collection), it.discard)
        [removed: plan.removed(), edited: plan.edited, added: plan.added*.id*.toString(), leftOut: plan.nLeftOut,
         after: plan.nAfter(), replacing: plan.isReplacing(), endsUndo: plan.endsUndo()]
    },
    cover: { Map it ->
        def cover = new Cover(it.slide)
        it.areas.collect { area -> cover.patches(Shapes.valid(Shapes.read(area))).stream().toArray() as List }
    },
    written: { Map it -> Shapes.write(Shapes.read(it.geometry)) },
    valid: { Map it -> Shapes.write(Shapes.valid(Shapes.read(it.geometry))) },
    corrections: { Map it ->
        def drawn = it.drawn.collect { d ->
            new CorrectionPlan.Drawn(UUID.fromString(d.id), d.label, Shapes.valid(Shapes.read(d.geometry)), 'drawn')
        }
        def plan = new CorrectionPlan(it.slide.id, drawn, new SentRegions(it.study, it.events, it.waiting), new Cover(it.slide))
        [corrections: plan.corrections.collect { c -> [id: c.drawn.id.toString(), state: c.state, body: plan.body(c, false)] },
         nPatches: CorrectionPlan.nPatches(plan.corrections)]
    },
    prediction: { Map it ->
        def prediction = new Prediction(it.answer)
        def facts = new PredictionFacts(prediction, it.pixel_um2)
        [counts: prediction.classes.collect { name -> prediction.count(name) },
         means: prediction.classes.collect { name -> def mean = prediction.meanProbability(name); Double.isNaN(mean) ? null : mean },
         given: prediction.nGiven(), sure: prediction.nSure(),
         words: [facts.area(prediction.classes[0]), facts.share(prediction.classes[0]), facts.certainty(prediction.classes[0]),
                 facts.lookedAt(), facts.sure(), facts.origin()]]
    },
]

System.in.eachLine('UTF-8') { line ->
    def command = Json.read(line)
    println Json.write(commands[command.command](command))
    System.out.flush()
}
