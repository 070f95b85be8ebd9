const packages = {
  redis: { apt: 'redis-server', brew: 'redis' },
  postgres: { apt: 'postgresql', brew: 'postgresql@18' },
};

/** How to get a server, as commands to paste. */
export function adviceFor(service) {
  const { apt, brew } = packages[service];
  return [
    'Install it with one of these, then run the same command again:',
    `  apt:    sudo apt-get update && sudo apt-get install -y ${apt}`,
    `  brew:   brew install ${brew}`,
    '  docker: docker compose up -d --wait',
    '          export REDIS_URL=redis://127.0.0.1:6379',
    '          export DATABASE_URL=postgres://tierline:tierline@127.0.0.1:5432/tierline',
  ].join('\n');
}
