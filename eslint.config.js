import js from "@eslint/js";
import globals from "globals";

const MARKUP = ["innerHTML", "outerHTML", "insertAdjacentHTML", "setHTMLUnsafe"];

export default [
  { ignores: [".venv/", "node_modules/", "build/", "checkpoints/"] },
  js.configs.recommended,
  {
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-implicit-globals": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-restricted-properties": [
        "error",
        ...MARKUP.map((property) => ({ property, message: "Token text is text content, never markup." })),
        { object: "document", property: "write", message: "Token text is text content, never markup." },
        { object: "Math", property: "random", message: "Nothing on the screen is made up." },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "ImportExpression, MetaProperty", message: "What is served is one joined module: import at the top." },
      ],
      "no-undef": "error",
      "no-unused-vars": ["error", { ignoreRestSiblings: true, caughtErrors: "all" }],
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
    },
  },
  { files: ["tests/js/**", "*.config.js"], languageOptions: { globals: globals.node } },
];
