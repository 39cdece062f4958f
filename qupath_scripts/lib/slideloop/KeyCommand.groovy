package slideloop

/** What a key of the review window can ask for. */
enum KeyCommand {
    LABEL, BACK, LEFT, RIGHT, UP, DOWN, CLOSE
}
