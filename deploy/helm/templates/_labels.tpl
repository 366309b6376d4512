{{- define "labels" -}}
app.kubernetes.io/name: fmnist-stream
app.kubernetes.io/component: kafka-consumer
{{- end }}
