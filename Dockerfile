# The API for programs: docker run --publish 7860:7860 --volume ./galleries/photos:/gallery cmr-hub
FROM python:3.11-slim
WORKDIR /app
# Dependencies first: they change less often than the code, and are kept by Docker.
COPY requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY cmr_hub cmr_hub
COPY model_cards model_cards
RUN pip install --no-cache-dir ".[api,openvino]" && useradd --create-home cmr
USER cmr
ENV OMP_WAIT_POLICY=PASSIVE
VOLUME ["/gallery"]
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health')"]
CMD ["cmr", "serve", "--api", "--gallery", "/gallery", "--host", "0.0.0.0", "--port", "7860"]
