{{- define "pointsman.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "pointsman.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pointsman.labels" -}}
{{ include "pointsman.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "pointsman.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}{{ else }}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}{{ end }}
{{- end }}

{{- define "pointsman.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "pointsman.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "pointsman.port" -}}
{{- dig "server" "port" 6060 .Values.config }}
{{- end }}

{{- define "pointsman.check" -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- $url := dig "store" "url" "" .Values.config }}
{{- if and (gt $most 1) (hasPrefix "sqlite" $url) }}
{{- fail (printf "config.store.url is %s and there may be %d replicas, which cannot share a file: name a PostgreSQL database, or set replicaCount to 1 and autoscaling.enabled to false" $url $most) }}
{{- end }}
{{- if and (dig "policy" "budgets" false .Values.config) (not $url) (gt $most 1) }}
{{- fail "config.policy.budgets need config.store where there are several replicas: each would spend the whole budget" }}
{{- end }}
{{- $host := dig "server" "host" "127.0.0.1" .Values.config }}
{{- if eq $host "127.0.0.1" }}
{{- fail "config.server.host is 127.0.0.1, which nobody outside the pod reaches: set it to 0.0.0.0, with config.server.keys" }}
{{- end }}
{{- if and .Values.checkpoints.existingClaim .Values.checkpoints.image }}
{{- fail "checkpoints.existingClaim and checkpoints.image are both given: name one" }}
{{- end }}
{{- end }}
