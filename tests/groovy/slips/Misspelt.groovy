// Must be refused: that the type check finds such a slip is what the compiling test rests on.
class Misspelt {
    int size(String text) {
        text.lenght()
    }
}
