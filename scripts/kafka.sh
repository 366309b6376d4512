#!/usr/bin/env bash
# Starts a real Apache Kafka (KRaft, one node) on free ports, runs a command, stops it.
#
#   scripts/kafka.sh [--secure] [--proxied] COMMAND [ARG ...]
#
# The command finds the address in FMNIST_TEST_KAFKA. A broker that is killed starts again, after as
# many seconds as the file "away" in FMNIST_TEST_KAFKA_FOLDER says; "pid" there has its process id.
#   --secure   listeners with TLS and with SASL (PLAIN and SCRAM-SHA-512, user "tester", password
#              "tester-secret") in FMNIST_TEST_KAFKA_TLS and FMNIST_TEST_KAFKA_SASL; the
#              certificates are in the folder: ca.pem, and other-ca.pem, which signed nothing
#   --proxied  a listener in FMNIST_TEST_KAFKA_BEHIND that sends its clients to
#              FMNIST_TEST_KAFKA_PROXY, where the command may put a proxy
#
# Needs Java 17, Maven and flock, openssl for --secure; Kafka itself comes from Maven Central into
# .cache/kafka.
set -euo pipefail
cd "$(dirname "$0")/.."
secure= proxied=
while [[ ${1:-} == --* ]]; do
    case "$1" in
        --secure) secure=yes ;;
        --proxied) proxied=yes ;;
        *) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
[ $# -gt 0 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2; }
for tool in java mvn; do
    command -v "$tool" >/dev/null || { echo "kafka.sh: $tool is missing; install a JDK 17 and Maven" >&2; exit 1; }
done

version=4.1.0
libs=$PWD/.cache/kafka/$version
mkdir -p "$libs"
# Two that start at once fetch it once.
exec 9>"$libs/.lock"
flock 9
if [ ! -f "$libs/.complete" ]; then
    cat > "$libs/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$libs/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs"
    touch "$libs/.complete"
fi
exec 9>&-

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
controller=$(free_port)
tls=$(free_port)
sasl=$(free_port)
behind=$(free_port)
proxy=$(free_port)
data=$(mktemp -d)
supervisor=
stop() {
    touch "$data/stop"
    [ ! -f "$data/pid" ] || kill "$(cat "$data/pid")" 2>/dev/null || true
    [ -z "$supervisor" ] || wait "$supervisor" 2>/dev/null || true
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

listeners=PLAINTEXT://127.0.0.1:$port
advertised=$listeners
protocols=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
scram=()
if [ -n "$proxied" ]; then
    listeners+=,BEHIND://127.0.0.1:$behind
    advertised+=,BEHIND://127.0.0.1:$proxy
    protocols+=,BEHIND:PLAINTEXT
fi
if [ -n "$secure" ]; then
    for extra in TLS://127.0.0.1:$tls SASL://127.0.0.1:$sasl; do
        listeners+=,$extra
        advertised+=,$extra
    done
    protocols+=,TLS:SSL,SASL:SASL_SSL
    scram=(--add-scram 'SCRAM-SHA-512=[name=tester,password=tester-secret]')
    (
        cd "$data"
        for ca in ca other-ca; do
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$ca" \
                -keyout "$ca.key" -out "$ca.pem"
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out server.crt
        cat server.key server.crt >server.pem
    ) 2>"$data/openssl.log" || { cat "$data/openssl.log" >&2; exit 1; }
fi
cat > "$data/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=$listeners,CONTROLLER://127.0.0.1:$controller
advertised.listeners=$advertised
listener.security.protocol.map=$protocols
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.dirs=$data/logs
PROPERTIES
[ -z "$secure" ] || cat >> "$data/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$data/server.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tester="tester-secret";
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
kafka=(java -Xmx512m -XX:+UseSerialGC -cp "$libs/*")
id=$("${kafka[@]}" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -n 1)
"${kafka[@]}" kafka.tools.StorageTool format -t "$id" -c "$data/server.properties" \
    ${scram[@]+"${scram[@]}"} >"$data/format.log" 2>&1 || { cat "$data/format.log" >&2; exit 1; }

# Ends with the broker until it was up once, and then with this script.
supervise() {
    while true; do
        "${kafka[@]}" kafka.Kafka "$data/server.properties" >>"$data/kafka.log" 2>&1 &
        echo $! >"$data/pid"
        wait $! || true
        [ -e "$data/up" ] && [ ! -e "$data/stop" ] || break
        sleep "$(cat "$data/away" 2>/dev/null || echo 0)"
    done
}
supervise &
supervisor=$!

for _ in $(seq 240); do
    if ! kill -0 "$supervisor" 2>/dev/null; then
        tail -n 30 "$data/kafka.log" >&2
        echo "kafka.sh: Kafka ended before it was up" >&2
        exit 1
    fi
    grep -q 'Kafka Server started' "$data/kafka.log" 2>/dev/null && break
    sleep 0.25
done
grep -q 'Kafka Server started' "$data/kafka.log" || { echo "kafka.sh: Kafka was not up within a minute" >&2; exit 1; }
touch "$data/up"
echo "kafka.sh: Kafka $version on 127.0.0.1:$port" >&2
export FMNIST_TEST_KAFKA=127.0.0.1:$port FMNIST_TEST_KAFKA_FOLDER=$data
[ -z "$secure" ] || export FMNIST_TEST_KAFKA_TLS=127.0.0.1:$tls FMNIST_TEST_KAFKA_SASL=127.0.0.1:$sasl
[ -z "$proxied" ] || export FMNIST_TEST_KAFKA_BEHIND=127.0.0.1:$behind FMNIST_TEST_KAFKA_PROXY=127.0.0.1:$proxy
"$@"
