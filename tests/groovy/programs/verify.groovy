// Loads every class of a folder, so that the machine verifies it: FOLDER. Prints how many there are.
def names = new File(args[0]).list().findAll { it.endsWith('.class') }
// To ask for its methods links a class, and does not initialise it: JavaFX would want a screen.
def classes = names.collect { Class.forName("slideloop.${it - '.class'}", false, getClass().classLoader) }
def mistakable = classes.findAll { !Closure.isAssignableFrom(it) }.collectMany { type ->
    def getters = type.declaredMethods.findAll { it.parameterCount == 0 }.collectEntries { [it.name, it.returnType] }
    type.declaredFields.findAll { field ->
        def getter = getters["get${field.name.capitalize()}".toString()]
        getter != null && getter != field.type
    }.collect { "$type.simpleName.$it.name" }
}
// In a closure Groovy 4 takes the getter where Groovy 5 takes the field, and the type check sees neither.
assert mistakable.empty
println classes.size()
