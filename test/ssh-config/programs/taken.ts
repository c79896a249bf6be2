/** Prints as JSON which names are taken on this machine by a user's ssh config: taken.ts CONFIG RUN NAME… */
import { readUserConfig } from '../../../src/ssh-config/user-config.ts';
import { readUserEffectiveConfig } from '../../../src/ssh-config/user-effective-config.ts';

const [config = '', run = '', ...names] = process.argv.slice(2);
const { taken } = await readUserEffectiveConfig(readUserConfig(config), names, {
  paths: { run, sshConfig: `${run}/ssh_config` },
  include: `"${run}/ssh_config"`,
  withSystem: false,
});
process.stdout.write(JSON.stringify(Object.fromEntries(taken)));
