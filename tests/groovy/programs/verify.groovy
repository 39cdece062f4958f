// Loads every class of a folder, so that the machine verifies it: FOLDER. Prints how many there are.
def names = new File(args[0]).list().findAll { it.endsWith('.class') }
// To ask for its methods links a class, and does not initialise it: JavaFX would want a screen.
names.each { Class.forName("slideloop.${it - '.class'}", false, getClass().classLoader).getDeclaredMethods() }
println names.size()
