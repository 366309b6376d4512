#!/usr/bin/env bash
# Whether the program in this container answers that it is alive: bash alone, so that the image needs
# no further tool. Consumers listen on the health port, the page on its own.
set -euo pipefail
port=${FMNIST_SERVER__HEALTH_PORT:-${FMNIST_SERVER__PORT:-${PORT:-5000}}}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /livez HTTP/1.1\r\nhost: 127.0.0.1:%s\r\nconnection: close\r\n\r\n' "$port" >&3
read -r _ status _ <&3
[[ $status == 200 ]]
