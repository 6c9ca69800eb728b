# The page:       docker build -t captioner . && docker run -p 7860:7860 captioner
# A folder job:   docker run -v ~/Pictures:/photos captioner caption /photos -o /photos/captions.jsonl
FROM python:3.12-slim
WORKDIR /captioner
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY captioner captioner
RUN pip install --no-cache-dir ".[demo,heic,parquet]"
WORKDIR /photos
EXPOSE 7860
ENTRYPOINT ["captioner"]
CMD ["demo", "--host", "0.0.0.0", "--port", "7860"]
