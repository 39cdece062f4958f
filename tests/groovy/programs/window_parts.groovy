// The parts of the review window that need no screen, each case by its name: prints a line of JSON for each.
import slideloop.Host
import slideloop.Json
import slideloop.KeyGate
import slideloop.Pictures
import slideloop.Release
import slideloop.WantedPicture
import slideloop.WindowWords

import java.awt.image.BufferedImage
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executor
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

class Shelf implements Host {
    final read = new LinkedBlockingQueue<String>()
    final CountDownLatch first = new CountDownLatch(1)
    volatile boolean isUnreadable
    boolean centre(Map patch) { true }
    String otherImage(String slide) { null }
    int colour(String name) { 0 }
    BufferedImage picture(Map patch, double context, int px) {
        if (patch.id == 'first') {
            first.await()
        }
        read << patch.id
        if (patch.id == 'broken') {
            throw new IllegalStateException('no such tile')
        }
        isUnreadable ? null : new BufferedImage(px, px, BufferedImage.TYPE_INT_RGB)
    }
    List<String> order(int n) { (1..n).collect { read.poll(10, TimeUnit.SECONDS) } }
}

long now = 10_000
def gate = { now = 10_000; new KeyGate({ now }) }
def want = { id, px = 10 -> new WantedPicture([id: id, slide: 's', x: id.hashCode(), y: 0, width: 10], 1d, px) }
def arrived = new LinkedBlockingQueue<WantedPicture>()
def pictures = { host, limit = 1 << 20, threads = 1 ->
    arrived.clear()
    def made = new Pictures(host, { it.run() } as Executor, limit, threads)
    made.onArrival { arrived << it }
    made
}
def arrive = { int n -> n.times { assert arrived.poll(10, TimeUnit.SECONDS) != null } }

def cases = [
    'scripts of another release than the server are told, with the way out': {
        def found = Release.other('1.2.0', '1.3.0')
        assert found.contains('1.2.0') && found.contains('1.3.0') && found.contains('slideloop qupath install')
        assert Release.other('1.3.0', '1.3.0') == null
        assert Release.other(null, '1.3.0') == null
        assert Release.installed() == null
    },
    'a key pressed anew counts': {
        def keys = gate()
        assert keys.pressed('A')
        keys.released('A')
        assert keys.pressed('A')
    },
    'a key held down counts once, however long': {
        def keys = gate()
        assert keys.pressed('A')
        100.times { i -> now += 400; assert !keys.pressed('A') }
    },
    'two keys at once both count': {
        def keys = gate()
        assert keys.pressed('A') && keys.pressed('B') && !keys.pressed('A')
    },
    'a key whose release went elsewhere works again': {
        def keys = gate()
        assert keys.pressed('A')
        now += 1501
        assert keys.pressed('A')
    },
    'nothing labels before the picture is shown': {
        def keys = gate()
        now += 10_000
        assert !keys.mayLabel() && !keys.mayLabelByClick()
    },
    'a key labels from 150 ms after the picture on, a click from 300 ms': {
        def keys = gate()
        keys.shown()
        assert !keys.mayLabel()
        now += 149
        assert !keys.mayLabel()
        now += 1
        assert keys.mayLabel() && !keys.mayLabelByClick()
        now += 150
        assert keys.mayLabelByClick()
    },
    'the next patch closes the gate again': {
        def keys = gate()
        keys.shown()
        now += 1000
        keys.hidden()
        assert !keys.mayLabel()
    },
    'pictures come in the order of need, the latest wish first': {
        def host = new Shelf()
        def shown = pictures(host)
        shown.want([want('first'), want('b'), want('c')])
        while (!shown.@beingRead) { sleep(1) }
        shown.want([want('d'), want('c'), want('d')])
        host.first.countDown()
        assert host.order(3) == ['first', 'd', 'c']
        arrive(3)
        assert shown.get(want('b')) == null && shown.get(want('d')).image.width == 10
        shown.close()
    },
    'what is kept is not read again': {
        def host = new Shelf()
        def shown = pictures(host)
        shown.want([want('a')])
        arrive(1)
        shown.want([want('a'), want('b')])
        arrive(1)
        assert host.order(2) == ['a', 'b'] && host.read.empty
        shown.close()
    },
    'beyond the limit, what was used longest ago goes, never what is wanted': {
        def host = new Shelf()
        def shown = pictures(host, 1000)
        shown.want([want('a'), want('b')])
        arrive(2)
        assert shown.get(want('a')) != null
        shown.want([want('a'), want('c')])
        arrive(1)
        assert shown.get(want('a')) != null && shown.get(want('b')) == null && shown.get(want('c')) != null
        shown.want([want('d'), want('e'), want('f')])
        arrive(3)
        assert ['d', 'e', 'f'].every { id -> shown.get(want(id)) != null }
        shown.close()
    },
    'a reader that fails is said, and the others go on': {
        def host = new Shelf()
        def shown = pictures(host)
        shown.want([want('broken'), want('b')])
        arrive(2)
        assert shown.get(want('broken')).problem == 'The image of this patch cannot be read: no such tile'
        assert shown.get(want('b')).image != null
        shown.close()
    },
    'a picture that could not be read is read again after another image was opened': {
        def host = new Shelf(isUnreadable: true)
        def shown = pictures(host)
        shown.want([want('a')])
        arrive(1)
        shown.want([want('a')])
        assert shown.get(want('a')).problem == 'The image of this patch cannot be read.'
        host.isUnreadable = false
        shown.forgetProblems()
        shown.want([want('a')])
        arrive(1)
        assert shown.get(want('a')).image != null
        shown.close()
    },
    'closed, its threads end': {
        def shown = pictures(new Shelf(), 1000, 3)
        shown.close()
        shown.@readers.each { thread -> thread.join(10_000); assert !thread.alive }
    },
    'numbers have gaps at the thousands': {
        assert [0, 999, 1000, 1234567].collect { WindowWords.grouped(it) } == ['0', '999', '1\u202f000', '1\u202f234\u202f567']
        assert WindowWords.count(1, 'label') == '1 label' && WindowWords.count(2, 'label') == '2 labels'
    },
]
def out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
cases.each { name, run ->
    String fault = null
    try {
        run()
    } catch (Throwable err) {
        fault = err.toString()
    }
    out.println(Json.write([name: name, fault: fault]))
}
System.exit(0)
