package org.slf4j

interface Logger {
    void error(String message, Throwable error)
}
