from cmr_hub.space.serving.request_sizes import most_bytes


def test_uploads_and_tools_may_send_more():
    assert most_bytes("/gradio_api/upload") > most_bytes("/gradio_api/mcp/") > most_bytes("/gradio_api/run/a")
