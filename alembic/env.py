"""Runs the migrations on the connection that nfp.manager.store.migrate hands over, or on alembic's own URL.

The latter is for developers: ``alembic -x url=sqlite:///x.db upgrade head``.
"""

from alembic import context

from nfp.manager.store.engine import make_engine
from nfp.manager.store.tables import Base


def run(connection):
    """Run what the command asked for."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url") or context.config.get_main_option(
        "sqlalchemy.url"
    )
    if not url:
        raise SystemExit("which database? alembic -x url=postgresql://… COMMAND")
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            run(connection)
    finally:
        engine.dispose()
