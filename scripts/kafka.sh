#!/usr/bin/env bash
# Starts a real Apache Kafka (KRaft, one node) on a free port, runs a command, stops it.
#
#   scripts/kafka.sh COMMAND [ARG ...]     the command finds the address in FMNIST_TEST_KAFKA
#
# Needs Java 17 and Maven; Kafka itself comes from Maven Central into .cache/kafka.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
for tool in java mvn; do
    command -v "$tool" >/dev/null || { echo "kafka.sh: $tool is missing; install a JDK 17 and Maven" >&2; exit 1; }
done

version=4.1.0
libs=$PWD/.cache/kafka/$version
if [ ! -f "$libs/.complete" ]; then
    mkdir -p "$libs"
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

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
controller=$(free_port)
data=$(mktemp -d)
broker=
stop() {
    [ -z "$broker" ] || { kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null; } || true
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

cat > "$data/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
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
kafka() { java -Xmx512m -XX:+UseSerialGC -cp "$libs/*" "$@"; }
id=$(kafka kafka.tools.StorageTool random-uuid 2>/dev/null | tail -n 1)
kafka kafka.tools.StorageTool format -t "$id" -c "$data/server.properties" >"$data/format.log" 2>&1
kafka kafka.Kafka "$data/server.properties" >"$data/kafka.log" 2>&1 &
broker=$!

for _ in $(seq 240); do
    if ! kill -0 "$broker" 2>/dev/null; then
        tail -n 30 "$data/kafka.log" >&2
        echo "kafka.sh: Kafka ended before it was up" >&2
        exit 1
    fi
    grep -q 'Kafka Server started' "$data/kafka.log" && break
    sleep 0.25
done
grep -q 'Kafka Server started' "$data/kafka.log" || { echo "kafka.sh: Kafka was not up within a minute" >&2; exit 1; }
echo "kafka.sh: Kafka $version on 127.0.0.1:$port" >&2
FMNIST_TEST_KAFKA=127.0.0.1:$port "$@"
