import js from '@eslint/js';
import hooks from 'eslint-plugin-react-hooks';
import ts from 'typescript-eslint';

export default ts.config(
  { ignores: ['**/wire.ts'] },
  js.configs.recommended,
  ...ts.configs.strictTypeChecked,
  {
    files: ['**/*.ts', '**/*.tsx'],
    plugins: { 'react-hooks': hooks },
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      ...hooks.configs.recommended.rules,
      'no-undef': 'off',
      eqeqeq: 'error',
      // Numbers in texts are what texts are for.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Components refer to handlers of React, which do not use `this`.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Only client.ts touches the network.
      'no-restricted-globals': ['error', 'fetch', 'WebSocket', 'XMLHttpRequest', 'EventSource']
    }
  },
  { files: ['**/client.ts'], rules: { 'no-restricted-globals': 'off' } },
  {
    // Components never import panels, panels never plugins.
    files: ['**/components/**'],
    rules: { 'no-restricted-imports': ['error', { patterns: ['**/panels/**', '**/plugins/**'] }] }
  },
  { files: ['**/panels/**'], rules: { 'no-restricted-imports': ['error', { patterns: ['**/plugins/**'] }] } }
);
