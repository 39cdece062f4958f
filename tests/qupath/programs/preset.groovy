// Writes preferences of QuPath's: NODE KEY=VALUE...
import java.util.prefs.Preferences

def node = Preferences.userRoot().node(args[0])
args.drop(1).each { node.put(*it.split('=', 2)) }
node.flush()
