#!/bin/sh
# A session with an expert at the terminal: curl, and python3 to read JSON.
#
#   slideloop serve --slides-root my-slide &
#   sh examples/session.sh my-slide/slide.tif X Y WIDTH HEIGHT
#
# X Y WIDTH HEIGHT is a rectangle of tumour, in level-0 pixels, as QuPath shows them. Each patch is
# then asked for by its place; look at it in QuPath and answer t (tumour), n (normal) or u (unsure).
# mask.geojson and mask.png are left in the current folder.
#
# Taken from the environment: SERVER (http://127.0.0.1:8765), SLIDELOOP_TOKEN, ROUNDS (2), K (5).
# The API in full: http://127.0.0.1:8765/api/v1/docs
set -eu

if [ $# -ne 5 ]; then
    echo "usage: $0 SLIDE X Y WIDTH HEIGHT" >&2
    exit 2
fi
case $1 in /*) slide_path=$1 ;; *) slide_path=$PWD/$1 ;; esac
api=${SERVER:-http://127.0.0.1:8765}/api/v1
newline='
'

# field NAME.NAME...: one value of the JSON on stdin; nothing where it is null or not there.
field() {
    python3 -c '
import functools, json, sys
def step(value, key):
    if isinstance(value, list):
        return (value[int(key):] or [None])[0]
    return (value or {}).get(key)
value = functools.reduce(step, sys.argv[1].split("."), json.load(sys.stdin))
print("" if value is None else len(value) if isinstance(value, list) else value)' "$1"
}

# object NAME=TEXT NAME:=JSON ...: a JSON object.
object() {
    python3 -c '
import json, sys
pairs = [text.partition("=") for text in sys.argv[1:]]
print(json.dumps({n.rstrip(":"): json.loads(v) if n.endswith(":") else v for n, _, v in pairs}))' "$@"
}

# Every request that changes a study carries an id of ours. curl sends a lost request again as it
# was, and the server, which knows it by that id, does it only once.
event_id() {
    python3 -c 'import uuid; print(uuid.uuid4())'
}

# ask OPTIONS PATH: curl, with the token on its stdin, where no list of processes shows it.
ask() {
    if [ -n "${SLIDELOOP_TOKEN-}" ]; then
        echo "header = \"Authorization: Bearer $SLIDELOOP_TOKEN\""
    fi |
        curl --config - --silent --show-error --noproxy localhost,127.0.0.1 \
            --retry 5 --retry-connrefused --header 'Content-Type: application/json' "$@"
}

# call METHOD PATH [BODY]: prints the answer; a refusal is said in the server's words.
call() {
    if [ $# -eq 3 ]; then
        answer=$(ask --write-out '\n%{http_code}' --request "$1" --data "$3" "$api$2")
    else
        answer=$(ask --write-out '\n%{http_code}' --request "$1" "$api$2")
    fi
    status=${answer##*"$newline"}
    answer=${answer%"$newline"*}
    case $status in
    2??) printf '%s\n' "$answer" ;;
    *)
        printf '%s: ' "$status" >&2
        for name in detail hint; do printf '%s\n' "$answer" | field $name >&2; done
        return 1
        ;;
    esac
}

# 1. Open the slide; wait for its index, which is a job. (QuPath does not wait: the first patches
#    are there long before the index is complete.)
opened=$(call POST /slides "$(object "path=$slide_path")")
slide=$(printf '%s' "$opened" | field slide.id)
job=$(printf '%s' "$opened" | field job.id)
while [ -n "$job" ]; do
    now=$(call GET "/jobs/$job?wait=5")
    state=$(printf '%s' "$now" | field state)
    echo "index: $state, $(printf '%s' "$now" | field progress)"
    case $state in
    queued | running) ;;
    done) job= ;;
    *)
        printf '%s' "$now" | field error.detail >&2
        exit 1
        ;;
    esac
done

# 2. Make a study: which slides, which classes, how many patches a round.
created=$(call POST /studies "$(object name=session.sh "slides:=[\"$slide\"]" mode=classes \
    'classes:=["Tumor", "Normal"]' "rounds:=${ROUNDS:-2}" "k:=${K:-5}" "event_id=$(event_id)")")
study=$(printf '%s' "$created" | field id)

# 3. The query: the rectangle that shows what is sought.
call POST "/studies/$study/queries" "$(object "slide=$slide" label=Tumor \
    "x:=$2" "y:=$3" "width:=$4" "height:=$5" "event_id=$(event_id)")" >/dev/null

# 4. The rounds. `wait` answers as soon as the next patches are there; after the last label of a
#    round the server trains by itself.
while :; do
    round=$(call GET "/studies/$study/round?wait=30")
    case $(printf '%s' "$round" | field state) in
    indexing | training)
        held_up=$(printf '%s' "$round" | field notes.0.text)
        if [ -z "$held_up" ]; then continue; fi
        echo "$held_up" >&2
        exit 1
        ;;
    labelling) ;;
    *) break ;; # session_over, or exhausted: nothing left to show
    esac
    round_id=$(printf '%s' "$round" | field round_id)
    n=$(printf '%s' "$round" | field patches)
    i=0
    while [ "$i" -lt "$n" ]; do
        patch=$(printf '%s' "$round" | field "patches.$i.id")
        printf 'Patch at %s, %s (%s px wide): t, n or u? ' \
            "$(printf '%s' "$round" | field "patches.$i.x")" \
            "$(printf '%s' "$round" | field "patches.$i.y")" \
            "$(printf '%s' "$round" | field "patches.$i.width")"
        read -r key || exit 1
        case $key in
        t) label=Tumor ;;
        n) label=Normal ;;
        u) label=unsure ;;
        *) continue ;; # asked again
        esac
        call PUT "/studies/$study/labels/$patch" "$(object "label=$label" "round_id=$round_id" \
            "reader=$(id -un)" "event_id=$(event_id)")" >/dev/null
        i=$((i + 1))
    done
done

# 5. The mask: as objects for QuPath, and as the picture of the paper.
for format in geojson png; do
    ask --fail --output "mask.$format" \
        "$api/studies/$study/prediction?slide=$slide&format=$format"
    echo "mask.$format"
done
