// Loads the library from source, as scripts in QuPath do: LIB_FOLDER SPOOL_FOLDER CLASS...
// Each class in a loader of its own first, as if a script used it alone; then a review is made.
import java.nio.file.Path
import java.util.concurrent.Executor
import java.util.function.Supplier

def newLoader = { new GroovyClassLoader(getClass().classLoader).tap { addClasspath(args[0]) } }
args.drop(2).each { name ->
    try {
        newLoader().loadClass("slideloop.$name").name
    } catch (Throwable fault) {
        System.err.println("$name: $fault")
    }
}
def loader = newLoader()
def made = { name, Object... given -> loader.loadClass("slideloop.$name").newInstance(given) }
def server = made('Server', 'HTTP://[::1]:8765/', { 'secret' } as Supplier)
def outbox = made('Outbox', Path.of(args[1]), server)
def review = made('Review', server, outbox, { it.run() } as Executor)
println "$server ${review.view().state}"
outbox.close()
System.exit(0)
