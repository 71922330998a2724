from tidemill_core.rights import RIGHTS
from tidemill_monitor.access.rpcs import allowable_rpcs


def test_a_project_may_allow_the_rpcs_of_all_services_but_those_of_the_installation_and_public_ones() -> None:
    rpcs = allowable_rpcs()

    assert {
        "tidemill.rag.v1.RetrievalService/Search",
        "tidemill.inference.v1.InferenceService/Generate",
        "tidemill.monitor.v1.AccessService/CreateApiKey",
    } <= rpcs
    assert rpcs >= RIGHTS
    assert len({each.split(".")[1] for each in rpcs - RIGHTS}) == 7
    refused = ("CreateProject", "DeleteProject", "ExchangeToken", "GetAccessConfiguration")
    assert not {f"tidemill.monitor.v1.AccessService/{name}" for name in refused} & rpcs
    assert "tidemill.status.v1.StatusService/GetStatus" not in rpcs
