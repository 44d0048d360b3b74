"""Events that join the deployments of a use case: each starts the next stage of a turn."""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture, RunDeployment
from prefect.client.orchestration import SyncPrefectClient

from tasks.stores import events
from tasks.stores.stages import STAGES

EVENTS = {stage.event: name for name, stage in STAGES.items()}


def automate(client: SyncPrefectClient, usecase: str) -> None:
    """Join the deployments of a use case by events; found by name and updated, never doubled."""
    for event, target in EVENTS.items():
        deployment = client.read_deployment_by_name(f"{target}/{usecase}")
        name = f"driftwheel: {target} {usecase}"
        found = sorted(client.read_automations_by_name(name), key=lambda each: str(each.id))
        wanted = AutomationCore(
            name=name,
            description=f"{event} starts {target}/{usecase}",
            enabled=found[0].enabled if found else True,
            trigger=EventTrigger(
                expect={event},
                match={"prefect.resource.id": events.resource(usecase)},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[
                RunDeployment(
                    source="selected",
                    deployment_id=deployment.id,
                    parameters={
                        "usecase": usecase,
                        "turn_id": "{{ event.payload.turn_id }}",
                        "as_of": "{{ event.payload.as_of }}",
                    },
                )
            ],
        )
        for double in found[1:]:
            client.delete_automation(double.id)
        if not found:
            client.create_automation(wanted)
        elif found[0].model_dump(exclude={"id"}) != wanted.model_dump():
            client.update_automation(found[0].id, wanted)
