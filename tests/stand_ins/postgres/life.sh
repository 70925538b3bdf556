# The life of a server: life.sh PROGRAMS PORT USER, with CERTIFICATE and KEY in the environment.
exec 2>&1
set -e
# Ctrl-C and a time limit reach the whole group: the pipe's end tells what to do, and the folder goes along.
trap '' INT HUP TERM
programs=$1 port=$2 user=$3
umask 077
folder=$(mktemp -d "${TMPDIR:-/tmp}/millstream-postgres-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$programs/initdb" -D "$folder/data" -U "$user" -A trust -E UTF8 --locale=C.UTF-8 --no-sync
printf '%s' "$CERTIFICATE" >"$folder/data/server.crt"
printf '%s' "$KEY" >"$folder/data/server.key"
printf 'host all %s all scram-sha-256\nhost all all 127.0.0.1/32 trust\n' careful >"$folder/data/pg_hba.conf"
"$programs/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c full_page_writes=off -c ssl=on -c max_connections=200 \
    -c max_wal_size=4GB >"$folder/log" 2>&1 </dev/null &
server=$!
exec 3<&0
# A background command's standard input is empty unless it says otherwise.
(cat <&3 >/dev/null; kill -INT "$server" 2>/dev/null) >/dev/null &
until grep -q ready "$folder/data/postmaster.pid" 2>/dev/null; do
    if ! kill -0 "$server" 2>/dev/null; then
        cat "$folder/log"
        exit 1
    fi
    sleep 0.05
done
echo ready
# Whoever reads this output has what it waited for.
exec >/dev/null 2>&1
set +e
wait "$server"
