// What the process is told by its environment; everything else is decided here, with its reason.

function required(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

export function load() {
  return {
    port: Number(process.env.PORT ?? 3000),
    databaseUrl: required('DATABASE_URL'),
    redisPath: required('REDIS_PATH'),
    appSecret: required('WHATSAPP_APP_SECRET'),
    // 20 jobs wait for the disk at a time; one pool connection for each of them.
    concurrency: Number(process.env.CONCURRENCY ?? 20),
    // Jobs wait until the process gets SIGUSR2, so that a backlog can be measured.
    startsPaused: process.env.START_PAUSED === '1',
  };
}
