"""What clients are known to send with a user's role: names of blocks, first words, last sections.

Names are compared word by word: <userQuery>, <user-query> and <USER_QUERY> are user_query. From Claude Code, Codex,
opencode, aider, Cline, Roo Code, Cursor, Copilot, Continue, Gemini CLI, Qwen Code, OpenHands, SWE-agent, smolagents and
Open WebUI.
"""

import re

__all__ = [
    "ANNOUNCES",
    "ASKED",
    "ATTACHED",
    "BEGINNINGS",
    "CONTINUES",
    "ENDINGS",
    "ENDING_SIGNS",
    "FILE_FENCE",
    "FILLS",
    "FIRST",
    "LAST",
    "LINES",
    "LINE_SIGNS",
    "OWN",
    "REQUEST",
    "RETRIEVED",
    "RULES_FILE",
    "UNWRAPPED",
]


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


ASKED = _names("user_query user_request user_prompt user_question")  # the turn is what they hold
UNWRAPPED = _names("task feedback answer user_message command_args")  # the tags go, the text stays
OWN = _names(  # never what was asked
    """
    system_reminder system_reminders system_warning system_message system_notification
    environment_context environment_details environment_info env additional_context session_context additional_data
    user_instructions user_info user_rules rules memories skill skills timestamp image permissions collaboration_mode
    project_instructions custom_instructions reminder_instructions explicit_instructions important_rules
    turn_aborted user_shell_command user_action model_switch subagent_notification task_notification teammate_message
    command_name command_message command_contents local_command_stdout local_command_stderr local_command_caveat
    bash_input bash_stdout bash_stderr user_prompt_submit_hook new_diagnostics task_progress
    ide_selection ide_opened_file ide_diagnostics open_and_recently_viewed_files agent_transcripts agent_skills
    mcp_file_system project_layout git_status linter_errors
    tool_result tool_results tool_output tool_response tool_use_error function_results persisted_output
    """
)
ATTACHED = _names(  # what was asked about
    """
    context document documents file files folder attachment attachments selection passage passages source sources
    snippet snippets path content results
    """
)
# First and last words of longer names that clients make up: whatever is named so is an attachment at most.
FIRST = _names("""
    system environment env ide editor workspace vscode cursor codex claude agent mcp git repo repository project session
    tool terminal shell bash
    """)
LAST = _names("""
    context reminder reminders details info information instructions rules guidelines files file content contents data
    layout status transcripts diagnostics errors selection metadata memory memories settings notification stdout stderr
    output state history tabs results documents passages attachments preferences summary
    """)

# A text that begins so is a client's from its beginning to its end.
_RESULT = r"\[[\w.-]+(?: for [^\n]{0,300})?\] Result:"
_READ = r"Called the \w+ tool (?:with the following input|on )"
BEGINNINGS = re.compile(
    r"\s*(?:"
    + "|".join(
        (
            r"Caveat: The messages below were generated",
            r"This session is being continued from a previous conversation",
            r"Base directory for this skill:",
            r"(?:Stop|SessionStart|SubagentStop|PreToolUse|PostToolUse|UserPromptSubmit) hook\b",
            r"Your task is to create a detailed summary of the conversation",
            r"You are performing a CONTEXT CHECKPOINT",
            r"Another language model started to solve this problem",
            _READ,
            r"Result of calling the \w+ tool",
            r"The following tool was executed by the user",
            r"Continue if you have next steps",
            r"Summarize the task tool output above",
            r"Attached image\(s\) from tool result",
            r"Here are summaries of some files present in my git repo",
            r"I have \*added these files to the chat\*",
            r"Here are (?:some )?READ ONLY files",
            r"Here is the content of https?://",
            r"I switched to a new code base",
            r"I am not sharing (?:any|the full contents of any) files",
            r"# Fix any errors below, if possible",
            r"I ran this command:\s",
            r"The LLM did not conform to the edit format",
            r"\[TASK RESUMPTION\]",
            r"\[ERROR\] You did not use a tool",
            r"\[\[?NOTE\]",
            r"This is the (?:Gemini CLI|Qwen Code)",
            r"(?:Observation|OBSERVATION|New Terminal Output):\s",
            r"(?:EXECUTION RESULT of|Tool (?:result|output|response))[^\n]{0,80}:\s",
            r"<returncode>",
            _RESULT,
        )
    )
    + ")"
)
# Of those, the ones whose result stands in the part that follows.
ANNOUNCES = re.compile(rf"\s*(?:{_RESULT}\s*\Z|{_READ})")
# From such a line to its end, a text is a client's.
ENDINGS = re.compile(
    r"(?m)^(?:# \*SEARCH/REPLACE block\* Rules:|# File editing rules:|To suggest changes to a file you MUST return"
    r"|# task_progress |# Reminder: Instructions for Tool Use|# TODO LIST |# Next Steps\n\nIf you have completed"
    r"|Here is the content of https?://)"
)
LINES = re.compile(
    r"(?m)^(?:\[Request interrupted by user[^\]\n]{0,40}\]"
    r"|The user (?:denied this operation|has provided|provided) [^\n]{0,80}feedback[^\n]{0,80}:"
    r"|New (?:instructions for task continuation|message to respond to)[^\n]{0,120}:"
    r"|</?image\b[^>\n]{0,300}>|x-anthropic-billing-header:[^\n]*)$"
)
# Without one of these in it a text has no such line, which is sooner seen.
ENDING_SIGNS = ("#", "To suggest changes to a file", "Here is the content of")
LINE_SIGNS = ("[Request interrupted", "The user ", "New instructions for", "New message to", "image", "x-anthropic-")
RULES_FILE = re.compile(r"\s*# [\w.-]+\.md instructions for [^\n]*\s*<INSTRUCTIONS>.*?</INSTRUCTIONS>", re.DOTALL)
REQUEST = re.compile(
    r"(?m)^#{1,3} (?:My|User'?s?) (?:request|question|query|message|prompt)(?: for [\w ]{1,30})?:?[ \t]*$"
)
RETRIEVED = re.compile(r"\s*### Task:\s*\nRespond to the user query using the provided context.*</context>", re.DOTALL)
FILE_FENCE = re.compile(r"```[^`]*[\w)\]][/.:]")

# A short text of these words alone, one of the first kind at least, goes on with what there is.
CONTINUES = _names("""
    ok okay k kk yes y yep yeah yup sure no n go continue proceed next resume retry again more do keep carry lgtm
    approved confirmed agreed correct good great perfect fine nice cool alright right exactly both
    weiter ja nein oui non si sí continua continúa continuer sim да нет далее продолжай
    はい 続けて 続けてください 继续 繼續 好 好的 是 可以 계속 네
    """)
FILLS = _names("""
    on ahead please pls thanks thank you it that this going try the rest with and then now all sounds looks done step
    bitte so just to me by means of course from where left off we task your work working lets let s tell
    """)
