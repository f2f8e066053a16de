"""What a reload leaves of the engine before it: nothing."""

import asyncio
import gc
import weakref

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine

from support.autopilot_server import lifespan


async def test_replaced_engines_are_freed():
    """After any number of reloads one engine is in memory, with its routers, breakers and pools."""
    config = make_config({"routers": {"random": {}}, "sessions": {}, "drift": {}, "policy": {"strong_share": 0.3}})
    app = create_app(config)
    engines = weakref.WeakSet([app.engine])
    async with lifespan(app):
        for _ in range(5):
            engine = Engine(config, previous=app.engine)
            engines.add(engine)
            await app.replace(engine)
            del engine
        await asyncio.gather(*app._finishing)
        gc.collect()
        assert list(engines) == [app.engine]
