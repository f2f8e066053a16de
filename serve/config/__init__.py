"""The configuration: one YAML file (or the command line's flags) as frozen, validated values.

strong: big                       # a name under models, or a model string such as openai/gpt-4o
weak: small
models:
  big: {model: openai/gpt-4o}
  small: {base_url: "http://localhost:8000/v1", model: qwen3-8b, api_key: "env:SMALL_KEY"}
routers:
  mf: {strong_share: 0.3}
  mine: {checkpoint: ./my-checkpoint, threshold: 0.42}
server: {host: 127.0.0.1, port: 6060}
"""

from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.config.dashboard import DashboardConfig
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.config.models import BreakerConfig, ModelConfig, RetryConfig, TimeoutConfig
from pointsman.serve.config.policy import BudgetConfig, PolicyConfig, SettingConfig
from pointsman.serve.config.root import Config, json_schema, name_problems
from pointsman.serve.config.routers import PairConfig, RouterConfig
from pointsman.serve.config.server import ServerConfig
from pointsman.serve.config.sessions import SessionsConfig
from pointsman.serve.config.shadow import ShadowConfig
from pointsman.serve.config.store import StoreConfig
from pointsman.serve.config.telemetry import TelemetryConfig

__all__ = [
    "AutopilotConfig",
    "BreakerConfig",
    "BudgetConfig",
    "Config",
    "DashboardConfig",
    "DriftConfig",
    "ModelConfig",
    "PairConfig",
    "PolicyConfig",
    "RetryConfig",
    "RouterConfig",
    "ServerConfig",
    "SessionsConfig",
    "SettingConfig",
    "ShadowConfig",
    "StoreConfig",
    "TelemetryConfig",
    "TimeoutConfig",
    "json_schema",
    "name_problems",
]
