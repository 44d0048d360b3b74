"""The command line. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 held or refused, or rows were lost that no run reported before, 130
interrupted.
"""

from __future__ import annotations

import click

from flows.commands import (
    adopt,
    alert,
    backups,
    containers,
    deciding,
    evidence,
    flow_runs,
    forget,
    keys,
    ledger,
    lineage,
    local_stack,
    new,
    parts,
    personal_keys,
    profile,
    quarantine,
    rows,
    suggest,
    use_cases,
    value,
    versions,
)
from flows.failing import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftwheel")
@click.option("--debug", is_flag=True, help="Show the trace of what fails, too (or set DRIFTWHEEL_DEBUG).")
def main(debug: bool) -> None:
    """Close the loop of machine learning: collect, train, deploy, monitor, and round again.

    A use case is a folder holding usecase.yaml; wherever USECASE stands, a registered or shipped name or a path works.
    Begin with `driftwheel check flights`, then `driftwheel replay flights`.
    """
    if debug:
        from infra.environment import show_traces

        show_traces()


for _command in (
    *(new.new, adopt.adopt, use_cases.check, use_cases.add, use_cases.remove, use_cases.list_use_cases),
    *(use_cases.schema, parts.parts),
    *(local_stack.up, local_stack.down, local_stack.status, local_stack.doctor),
    *(containers.stack, backups.back_up_home, backups.restore),
    *(flow_runs.run, flow_runs.replay, flow_runs.score, flow_runs.report),
    *(deciding.backtest, deciding.decide, profile.profile),
    *(versions.promote, versions.deploy, versions.rollback),
    *(
        keys.keys,
        personal_keys.personal_keys,
        ledger.why,
        evidence.evidence,
        lineage.lineage,
        lineage.prove,
        rows.rows,
        suggest.suggest,
        value.value,
        quarantine.quarantine,
        forget.forget,
        alert.alert,
    ),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
