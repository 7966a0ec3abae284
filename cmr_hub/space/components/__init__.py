"""The parts that views are made of: Gradio components, HTML, charts and scripts."""
